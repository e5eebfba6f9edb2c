//! The whole-graph check, fault by fault.

use super::*;

/// A flow as the configuration hands it over; `text` holds `[step.NAME]` tables. Lines are those of `text`.
fn flow(start: &str, text: &str) -> config::Flow {
    let file: Arc<str> = "flows.toml".into();
    let mut table: toml::Table = toml::from_str(text).expect("TOML");
    let steps = table.remove("step").map(|steps| steps.as_table().cloned().expect("steps")).unwrap_or_default();
    let line_of = |wanted: &str, from: usize| {
        let found = text.lines().skip(from).position(|line| line.trim_start().starts_with(wanted));
        found.map(|line| from + line + 1)
    };
    let steps = steps.into_iter().map(|(name, step)| {
        let line = line_of(&format!("[step.{name}]"), 0).expect("its header");
        let mut settings = step.as_table().cloned().expect("a table");
        let applet = settings.remove("applet").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
        let lines = settings.keys().filter_map(|key| Some((key.clone(), line_of(key, line)?))).collect();
        config::Step { name, applet, settings, lines, place: config::Place { file: file.clone(), line } }
    });
    let place = config::Place { file: file.clone(), line: 100 };
    config::Flow { id: "bot".to_owned(), start: start.to_owned(), steps: steps.collect(), place }
}

/// A checked graph, for tests of what walks it.
pub(in crate::flow) fn graph(start: &str, text: &str) -> Arc<Graph> {
    check(&[flow(start, text)], &|_| Ok(())).expect("a good flow").flow("bot").expect("its id")
}

/// What the check says: `line: key: message`.
fn problems(start: &str, text: &str) -> Vec<String> {
    let url = |url: &str| if url.contains("nowhere") { Err("the host is nowhere".to_owned()) } else { Ok(()) };
    let found = check(&[flow(start, text)], &url).expect_err("a bad flow");
    found.iter().map(|problem| problem.to_string().replace("flows.toml:", "")).collect()
}

fn only_problem(start: &str, text: &str) -> String {
    let mut found = problems(start, text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

const TALK: &str = "[step.talk]\napplet = \"voicebot\"\nurl = \"ws://127.0.0.1:9001/media?sample-rate=8000\"\n";

#[test]
fn a_flow_with_one_bot_is_a_flow() {
    let graph = graph("talk", TALK);
    assert_eq!((graph.id(), graph.start(), graph.steps().count()), ("bot", "talk", 1));
    assert_eq!(graph.step("talk").map(StepKind::name), Some("voicebot"));
    assert_eq!(graph.step("other"), None);
}

#[test]
fn an_unknown_applet_is_named_with_those_that_exist() {
    let said = only_problem("talk", "[step.talk]\napplet = \"voicebott\"\n");
    assert_eq!(
        said,
        "1: flow.bot.step.talk.applet: there is no applet `voicebott`; expected one of `connect`, `hangup`, `voicebot`"
    );
}

#[test]
fn an_unknown_step_is_named_at_the_transition() {
    let said = only_problem("talk", &format!("{TALK}next = \"bye\"\n"));
    assert_eq!(said, "4: flow.bot.step.talk.next: there is no step `bye`; expected one of `talk`");
}

#[test]
fn a_missing_start_is_named_at_the_flow() {
    let said = only_problem("hello", TALK);
    assert_eq!(said, "100: flow.bot.start: there is no step `hello`; expected one of `talk`");
    let said = only_problem("hello", "");
    assert!(said.ends_with("expected at least one [flow.step.NAME] table in flow `bot`"), "{said}");
}

#[test]
fn an_unreachable_step_is_named_and_a_circle_nobody_enters_too() {
    let said = only_problem("talk", &format!("{TALK}[step.bye]\napplet = \"hangup\"\n"));
    assert!(said.starts_with("4: flow.bot.step.bye: nothing leads to this step"), "{said}");
    let bot = |name: &str, next: &str| TALK.replace("talk", name) + &format!("next = \"{next}\"\n");
    let said = problems("talk", &[TALK, &bot("a", "b"), &bot("b", "a")].concat());
    assert_eq!(said.len(), 2, "{said:?}");
}

#[test]
fn circles_are_allowed_but_no_step_leads_to_itself() {
    let bot = |name: &str, next: &str| TALK.replace("talk", name) + &format!("next = \"{next}\"\n");
    assert_eq!(graph("a", &[bot("a", "b"), bot("b", "a")].concat()).steps().count(), 2);
    let said = only_problem("talk", &format!("{TALK}on_error = \"talk\"\n"));
    assert!(said.starts_with("4: flow.bot.step.talk.on_error: leads from step `talk` to itself"), "{said}");
}

#[test]
fn a_bad_url_is_named_with_the_reason() {
    let said = only_problem("talk", "[step.talk]\napplet = \"voicebot\"\nurl = \"wss://nowhere\"\n");
    assert_eq!(said, "3: flow.bot.step.talk.url: the host is nowhere");
    let said = only_problem("talk", "[step.talk]\napplet = \"voicebot\"\nurl = \"https://a/b\"\n");
    assert_eq!(said, "3: flow.bot.step.talk.url: must start with ws:// or wss://");
    let said = only_problem("talk", "[step.talk]\napplet = \"voicebot\"\n");
    assert!(said.starts_with("1: flow.bot.step.talk.url: is missing; expected: The bot's address"), "{said}");
}

#[test]
fn an_unknown_setting_is_named_on_its_line_with_those_that_exist() {
    let said = only_problem("talk", &format!("{TALK}\nmedia_chunk = 20\n"));
    assert!(
        said.starts_with("5: flow.bot.step.talk.media_chunk: unknown setting `media_chunk`, expected one of"),
        "{said}"
    );
    assert!(said.contains("`media_chunk_ms`"), "{said}");
}

#[test]
fn a_wrong_value_is_named_on_its_line_with_what_was_expected() {
    let said = only_problem("talk", &format!("{TALK}clear_scope = \"most\"\n"));
    assert!(said.starts_with("4: flow.bot.step.talk.clear_scope: unknown value `most`"), "{said}");
    assert!(said.contains("`after_current_message`"), "{said}");
    let said = only_problem("talk", &format!("{TALK}media_chunk_ms = 50\n"));
    assert_eq!(said, "4: flow.bot.step.talk.media_chunk_ms: 50 is not a chunk length; expected 20, 40, 60 or 100");
}

#[test]
fn all_faults_of_all_flows_are_told_at_once() {
    let text = format!("{TALK}queue_seconds = 1\nmedia_chunk_ms = 1\n[step.bye]\napplet = \"hangup\"\ncause = 200\n");
    let mut second = flow("nobody", TALK);
    second.id = "other".to_owned();
    let found = check(&[flow("talk", &text), second], &|_| Ok(())).expect_err("bad flows");
    let keys: Vec<_> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "flow.bot.step.bye.cause",
            "flow.bot.step.talk.media_chunk_ms",
            "flow.bot.step.talk.queue_seconds",
            "flow.other.start"
        ]
    );
}

#[test]
fn the_reference_has_every_applet_with_descriptions_and_defaults() {
    let reference = reference();
    let bot = reference.iter().find(|reference| reference.applet == "voicebot").expect("in the list");
    let chunk = bot.schema.get("properties").and_then(|all| all.get("media_chunk_ms")).expect("a setting");
    assert_eq!(chunk.get("default"), Some(&100.into()));
    assert!(chunk.get("description").and_then(|text| text.as_str()).is_some_and(|text| text.contains("Default: 100")));
    assert_eq!(bot.schema.get("required"), Some(&serde_json::json!(["url"])));
}
