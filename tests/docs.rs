//! What the documents say is so: the commands they show exist, their configurations load, their links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use trunkstream::config::Config;
use trunkstream::server::host::{Finding, Host, Severity, judge};

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "pcap/README.md",
    "sip-fixtures/README.md",
    "sip-fixtures/rfc4475/README.md",
    "sip-fixtures/rfc5118/README.md",
];

/// Beside the documents: files whose commands people and machines run as they stand.
const RECIPES: &[&str] = &["Dockerfile", "deploy/trunkstream.service", "deploy/compose.yaml"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A fenced block: what stands after its first fence, and its text.
struct Block {
    language: String,
    text: String,
}

/// The fenced blocks of a document, and its text without them.
fn taken_apart(document: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose): (Vec<Block>, String) = (Vec::new(), String::new());
    let mut inside = false;
    for line in document.lines() {
        match (line.trim_start().strip_prefix("```"), blocks.last_mut().filter(|_| inside)) {
            (Some(_), Some(_)) => inside = false,
            (Some(language), None) => {
                inside = true;
                blocks.push(Block { language: language.trim().to_owned(), text: String::new() });
            }
            (None, Some(block)) => block.text.extend([line, "\n"]),
            (None, None) => prose.extend([line, "\n"]),
        }
    }
    (blocks, prose)
}

/// Inline code of a text without fenced blocks.
fn inline_code(prose: &str) -> Vec<String> {
    prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Every line of code of a document; lines that end in a backslash are joined with the next.
fn code_lines(document: &str) -> Vec<String> {
    let (blocks, prose) = taken_apart(document);
    let joined = blocks.iter().map(|block| block.text.replace("\\\n", " "));
    let lines: Vec<String> = joined.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().chain(inline_code(&prose)).collect()
}

/// The words of a command line up to what ends it: a pipe, a comment, another command.
fn words_after<'a>(line: &'a str, program: &str) -> Vec<&'a str> {
    let words = line.split_whitespace().skip_while(|word| *word != program && !word.ends_with(&format!("/{program}")));
    words.skip(1).take_while(|word| !matches!(*word, "|" | "&&" | ";" | "&" | "#" | "·")).collect()
}

/// Targets that lines of code give to make.
fn make_targets(lines: &[String]) -> BTreeSet<String> {
    let named = lines.iter().filter(|line| line.starts_with("make ")).flat_map(|line| words_after(line, "make"));
    named.filter(|word| !word.contains('=') && !word.starts_with('-')).map(str::to_owned).collect()
}

/// Commands of the binary and the long options that lines of code give them.
fn commands(lines: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines {
        let words = words_after(line, "trunkstream");
        let Some((command, rest)) = words.split_first() else { continue };
        if command.chars().all(|c| c.is_ascii_lowercase()) {
            let options = rest.iter().filter(|word| word.starts_with("--"));
            let options = options.map(|word| word.split('=').next().unwrap_or(word).to_owned());
            found.entry((*command).to_owned()).or_default().extend(options);
        }
    }
    found
}

/// `[text](target)` of prose, external ones left out.
fn links(prose: &str) -> Vec<String> {
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchor of a heading, as code hosts make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// `changes` laid over `base`: tables are merged, everything else is replaced.
fn laid_over(mut base: toml::Table, changes: toml::Table) -> toml::Table {
    for (key, value) in changes {
        let merged = match (base.remove(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => toml::Value::Table(laid_over(old, new)),
            (_, value) => value,
        };
        base.insert(key, merged);
    }
    base
}

/// What stands in the way of a configuration, in words; `None` where it loads.
fn fault(name: &str, text: &str) -> Option<String> {
    let route = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)));
    let problems = match Config::from_toml(name, text, route) {
        Ok(config) => trunkstream::cli::flows(&config).err().unwrap_or_default(),
        Err(problems) => problems,
    };
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn help(command: &str) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_trunkstream")).args([command, "--help"]).output().expect("it runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn existing_documents() -> Vec<(&'static str, String)> {
    DOCUMENTS.iter().map(|name| (*name, read(name))).collect()
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = read("Makefile");
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let mut wrong = Vec::new();
    for (name, text) in existing_documents() {
        let named = make_targets(&code_lines(&text));
        let missing = named.iter().filter(|target| !targets.contains(target.as_str()));
        wrong.extend(missing.map(|target| format!("{name}: make {target}")));
    }
    let from_ci = make_targets(&read(".ci/run").lines().filter_map(ci_make).collect::<Vec<_>>());
    assert!(from_ci.len() >= 4, "{from_ci:?}");
    wrong.extend(from_ci.iter().filter(|target| !targets.contains(target.as_str())).cloned());
    assert_none(&wrong);
}

/// `make …` of a line like `run lint 900 make lint`.
fn ci_make(line: &str) -> Option<String> {
    line.find(" make ").filter(|_| line.starts_with("run ")).map(|at| line[at + 1..].to_owned())
}

#[test]
fn every_command_and_option_that_is_shown_exists() {
    let mut wrong = Vec::new();
    let recipes = RECIPES.iter().map(|name| (*name, read(name).lines().map(unquoted).collect::<Vec<_>>()));
    let documents = existing_documents().into_iter().map(|(name, text)| (name, code_lines(&text)));
    let mut shown = BTreeSet::new();
    for (name, lines) in documents.chain(recipes) {
        for (command, options) in commands(&lines) {
            match help(&command) {
                Some(help) => {
                    let missing = options.iter().filter(|option| !help.contains(option.as_str()));
                    wrong.extend(missing.map(|option| format!("{name}: trunkstream {command} {option}")));
                }
                None => wrong.push(format!("{name}: trunkstream {command}")),
            }
            shown.insert(command);
        }
    }
    assert_none(&wrong);
    for command in ["serve", "check", "demo", "call", "replay", "trace", "bot"] {
        assert!(shown.contains(command), "no document shows `trunkstream {command}`");
    }
}

/// `CMD ["serve", "--config", …]` and `command: [...]` as a command line of the binary.
fn unquoted(line: &str) -> String {
    let bare = line.replace(['"', '[', ']', ','], " ");
    match bare.trim_start().strip_prefix("CMD ").or_else(|| bare.trim_start().strip_prefix("command:")) {
        Some(arguments) if !arguments.contains("bash") => format!("trunkstream {arguments}"),
        _ => bare,
    }
}

#[test]
fn every_configuration_that_is_shown_loads_by_itself_or_laid_over_the_shipped_one() {
    let shipped: toml::Table = read("config/trunkstream.toml").parse().expect("TOML");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (name, text) in existing_documents() {
        for block in taken_apart(&text).0.iter().filter(|block| block.language == "toml") {
            seen += 1;
            let whole = match block.text.parse::<toml::Table>() {
                Ok(table) if table.contains_key("flow") => block.text.clone(),
                Ok(table) => laid_over(shipped.clone(), table).to_string(),
                Err(error) => {
                    wrong.push(format!("{name}: {error}"));
                    continue;
                }
            };
            wrong.extend(fault(name, &whole).map(|fault| format!("{name}: {fault}\n{}", block.text)));
        }
    }
    assert_none(&wrong);
    assert!(seen >= 3, "{seen} configurations found");
}

#[test]
fn no_configuration_that_is_shown_warns_of_its_own_addresses() {
    let shipped: toml::Table = read("config/trunkstream.toml").parse().expect("TOML");
    let route = Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)));
    let mut wrong = Vec::new();
    for block in taken_apart(&read("README.md")).0.iter().filter(|block| block.language == "toml") {
        let shown: toml::Table = block.text.parse().expect("TOML");
        let whole = if shown.contains_key("flow") { shown } else { laid_over(shipped.clone(), shown) };
        let config = Config::from_toml("README.md", &whole.to_string(), route).expect("it loads");
        let findings = judge(&config, &Host::default());
        let about = |finding: &Finding| finding.severity != Severity::Ok && finding.text.contains("peers outside");
        wrong.extend(findings.iter().filter(|finding| about(finding)).map(|finding| format!("{finding}\n{whole}")));
    }
    assert_none(&wrong);
}

#[test]
fn every_configuration_file_loads() {
    let folders = ["config", "sip-fixtures/config"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root().join(folder)).into_iter().flatten().flatten());
    let files: Vec<_> =
        files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() > 2, "{files:?}");
    let fault = |path: &std::path::PathBuf| {
        let name = path.display().to_string();
        fault(&name, &fs::read_to_string(path).expect("it can be read"))
    };
    assert_none(&files.iter().filter_map(fault).collect::<Vec<_>>());
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for (name, text) in existing_documents() {
        let folder = root().join(name).parent().expect("a folder").to_owned();
        for link in links(&taken_apart(&text).1) {
            let (file, part) = link.split_once('#').map_or((link.as_str(), None), |(file, part)| (file, Some(part)));
            let target = if file.is_empty() { root().join(name) } else { folder.join(file) };
            let leads = target.exists() && part.is_none_or(|part| has_anchor(&target, part));
            wrong.extend((!leads).then(|| format!("{name}: {link}")));
        }
    }
    assert_none(&wrong);
}

fn has_anchor(file: &Path, part: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    taken_apart(&text).1.lines().any(|line| line.starts_with('#') && anchor(line) == part)
}

#[test]
fn every_path_of_this_repository_that_is_named_exists() {
    let mut wrong = Vec::new();
    for (name, text) in existing_documents().into_iter().filter(|(name, _)| !name.contains('/')) {
        for word in code_lines(&text).iter().flat_map(|line| line.split_whitespace()) {
            let path = word.trim_matches(|c: char| "\"'(),;:".contains(c));
            let ours = ["src/", "config/", "deploy/", "pcap/", "sip-fixtures/", "tests/", "benches/", ".ci/"];
            let named = ours.iter().any(|begin| path.starts_with(begin)) && !path.contains('*') && !path.contains('…');
            wrong.extend((named && !root().join(path).exists()).then(|| format!("{name}: {path}")));
        }
    }
    assert_none(&wrong);
}

#[test]
fn readers_are_sent_to_the_issue_tracker_of_the_package_and_numbers_are_explained() {
    let manifest: toml::Table = read("Cargo.toml").parse().expect("TOML");
    let repository = manifest["package"]["repository"].as_str().expect("a URL").to_owned();
    let contributing = read("CONTRIBUTING.md");
    for text in [&read("README.md"), &contributing] {
        assert!(text.contains(&format!("]({repository}/issues)")), "{repository}/issues");
    }
    for prefix in ["SIP", "SDP", "RTP", "HDR", "OPS"] {
        assert!(contributing.contains(&format!("| `{prefix}` |")), "{prefix}");
    }
}

#[test]
fn the_architecture_is_short_and_names_every_module() {
    let text = read("ARCHITECTURE.md");
    assert!(text.lines().count() < 150, "{} lines", text.lines().count());
    assert!(text.contains("## Life of a call"));
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let missing: Vec<String> =
        modules.filter(|name| !text.contains(&format!("| `{name}` |"))).map(str::to_owned).collect();
    assert_none(&missing);
}

#[test]
fn every_script_can_be_run() {
    use std::os::unix::fs::PermissionsExt;
    for script in [".ci/run", ".ci/need", "pcap/verify.sh", "sip-fixtures/run.sh"] {
        let mode = fs::metadata(root().join(script)).unwrap_or_else(|error| panic!("{script}: {error}")).permissions();
        assert_eq!(mode.mode() & 0o111, 0o111, "{script} is not executable");
    }
}

/// The readers above on a made-up document: each finds what it is for.
mod on_a_made_up_document {
    use super::*;

    const DOCUMENT: &str = "# A title, here\n\
        See [one](#a-title-here), [two](src/x.rs) and [far](https://example.org/x).\n\
        Run `make demo` and `trunkstream bot --mode echo | tee log --not-ours`.\n\
        ```\n\
        target/release/trunkstream call sip:1000@x \\\n\
          --dtmf=1 # --not-this\n\
        sudo make-believe && make nothing\n\
        ```\n\
        ```toml\n\
        [sip]\n\
        listen = [\"udp:127.0.0.1:5070\"]\n\
        ```\n";

    #[test]
    fn commands_with_their_options_are_found_and_what_follows_them_is_not() {
        let found = commands(&code_lines(DOCUMENT));
        assert_eq!(found.keys().collect::<Vec<_>>(), ["bot", "call"]);
        assert_eq!(found["bot"].iter().collect::<Vec<_>>(), ["--mode"]);
        assert_eq!(found["call"].iter().collect::<Vec<_>>(), ["--dtmf"]);
    }

    #[test]
    fn make_targets_links_and_anchors_are_found() {
        assert_eq!(make_targets(&code_lines(DOCUMENT)).iter().collect::<Vec<_>>(), ["demo"]);
        assert_eq!(links(&taken_apart(DOCUMENT).1), ["#a-title-here", "src/x.rs"]);
        assert_eq!(anchor("# A title, here"), "a-title-here");
    }

    #[test]
    fn a_fragment_is_laid_over_a_whole_configuration_and_a_wrong_key_is_told() {
        let shipped: toml::Table = read("config/trunkstream.toml").parse().expect("TOML");
        let (blocks, _) = taken_apart(DOCUMENT);
        let fragment = |text: &str| laid_over(shipped.clone(), text.parse().expect("TOML")).to_string();
        assert_eq!(blocks[1].language, "toml");
        assert_eq!(fault("x", &fragment(&blocks[1].text)), None);
        assert!(fault("x", &fragment("[sip]\nlisten_on = 1")).is_some_and(|text| text.contains("listen_on")));
        assert!(fault("x", &fragment("[[flow]]\nid = \"bot\"\nstart = \"nowhere\"")).is_some());
    }

    #[test]
    fn a_command_that_does_not_exist_has_no_help() {
        assert!(help("serve").is_some_and(|help| help.contains("--config")));
        assert!(help("dance").is_none());
    }
}
