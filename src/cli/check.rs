//! `trunkstream check`: says what is wrong with a configuration file, and whether this host is ready for it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use crate::config::{Config, FlowCheck, Problem};
use crate::server::host::{self, Finding, Severity};

/// The exit code for a file that cannot be used.
const BAD_FILE: u8 = 2;

/// Checks a file and prints the outcome; `check_flows` judges the flows' graphs. Exit code 0 when calls can be taken
/// (there may be warnings), 1 when the host stands in the way, 2 when the file is wrong.
#[must_use]
pub fn run(file: &Path, check_flows: FlowCheck<'_>) -> ExitCode {
    let config = match load(file, check_flows) {
        Ok(config) => config,
        Err(error) => {
            eprint!("{error}");
            return ExitCode::from(BAD_FILE);
        }
    };
    let findings = host::findings(&config);
    print!("{}", report(&config, &findings));
    let failed = findings.iter().any(|finding| finding.severity == Severity::Fail);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Reads and checks a file, as `check` and `serve` do.
///
/// # Errors
/// The text to print: one line per problem, `file:line: key: what was expected`.
pub fn load(file: &Path, check_flows: FlowCheck<'_>) -> Result<Config, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: cannot be read: {error}\n"))?;
    let config = Config::from_toml_with(&name, &text, host::route_source(), check_flows);
    let mut config = config.map_err(|problems| lines(&problems))?;
    config.read_secrets(&super::secret::read).map_err(|problems| lines(&problems))?;
    Ok(config)
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The configuration in short, then the findings.
fn report(config: &Config, findings: &[Finding]) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = describe(config, &mut out);
    let _ = writeln!(out, "\nHost");
    for finding in findings {
        let _ = writeln!(out, "  {}", finding.to_string().replace('\n', "\n  "));
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (failures, warnings) = (count(Severity::Fail), count(Severity::Warn));
    let verdict = if failures > 0 { "NOT READY" } else { "READY" };
    let _ = writeln!(out, "\n{verdict}: the file is good; failures {failures}, warnings {warnings}");
    out
}

fn describe(config: &Config, out: &mut String) -> std::fmt::Result {
    for listener in &config.sip.listeners {
        let transport = listener.transport.param();
        writeln!(out, "SIP     {transport} {}, told to peers as {}", listener.bind, listener.advertised)?;
    }
    let media = &config.media;
    let range = format!("{}-{}", media.first_port, media.last_port);
    writeln!(out, "RTP     {} ports {range}, told to peers as {}", media.listen_address, media.advertised_address)?;
    match config.admin {
        Some(address) => writeln!(out, "Admin   http://{address}")?,
        None => writeln!(out, "Admin   none")?,
    }
    writeln!(out, "Limit   {} calls at once", config.limits.max_calls)?;
    for trunk in &config.trunks {
        let accounts: Vec<&str> = trunk.accounts.iter().map(|sid| sid.as_str()).collect();
        let mut from: Vec<String> = trunk.sources.iter().map(ToString::to_string).collect();
        from.extend(trunk.auth.iter().map(|login| format!("anywhere as {}", login.username)));
        writeln!(out, "Trunk   {}: {} for {}", trunk.name, from.join(", "), accounts.join(", "))?;
        if !trunk.outgoing.destinations.is_empty() {
            let to: Vec<String> = trunk.outgoing.destinations.iter().map(ToString::to_string).collect();
            writeln!(out, "        calls out to {}", to.join(", then "))?;
        }
    }
    for number in &config.numbers {
        let steps = config.flows.iter().find(|flow| flow.id == number.flow).into_iter().flat_map(|flow| &flow.steps);
        let steps: Vec<String> = steps.map(|step| format!("{} ({})", step.name, step.applet)).collect();
        writeln!(out, "Number  {} of {} -> {}: {}", number.number, number.account, number.flow, steps.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../config/trunkstream.toml");

    #[test]
    fn the_report_names_listeners_trunks_and_where_numbers_lead() {
        let config = Config::from_toml("t", SHIPPED, None).unwrap();
        let finding = |severity, text: &str| Finding { severity, text: text.into(), advice: "do this".into() };
        let text = report(&config, &[finding(Severity::Warn, "tight"), finding(Severity::Fail, "broken")]);
        for line in [
            "SIP     udp 127.0.0.1:5060, told to peers as 127.0.0.1:5060",
            "RTP     127.0.0.1 ports 10000-29999, told to peers as 127.0.0.1",
            "Admin   http://127.0.0.1:9090",
            "Limit   2000 calls at once",
            "Trunk   lab: 127.0.0.0/8 for acc1",
            "Number  1000 of acc1 -> bot: talk (voicebot)",
            "  WARN  tight",
            "        -> do this",
            "  FAIL  broken",
            "NOT READY: the file is good; failures 1, warnings 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_and_a_bad_flow_are_told() {
        let missing = load(Path::new("/nowhere/x.toml"), &|_| Vec::new()).unwrap_err();
        assert!(missing.starts_with("/nowhere/x.toml: cannot be read"));
        let flow = |flows: &[crate::config::Flow]| {
            let place = flows[0].steps[0].place.clone();
            vec![Problem { place, key: "flow.bot.step.talk".into(), message: "never".into() }]
        };
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/trunkstream.toml");
        let found = load(&shipped, &flow).unwrap_err();
        assert!(found.ends_with("config/trunkstream.toml:22: flow.bot.step.talk: never\n"), "{found}");
        assert!(load(&shipped, &|_| Vec::new()).is_ok());
    }
}
