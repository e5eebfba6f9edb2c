//! Exit codes, and what is said of a configuration that is wrong.

use std::path::PathBuf;
use std::process::Output;

use crate::bridge::{directory, free_address, trunkstream};

/// A configuration file of its own.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        let file = directory().join("trunkstream.toml");
        std::fs::write(&file, text).expect("target/tmp can be written");
        Self(file)
    }

    fn good() -> String {
        let (sip, admin) = (free_address(), free_address());
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/trunkstream.toml"));
        let text = text.expect("config/trunkstream.toml");
        assert!(text.contains("127.0.0.1:5060") && text.contains("127.0.0.1:9090"));
        let text = text.replace("10000-29999", "20000-29999");
        text.replace("127.0.0.1:5060", &sip.to_string()).replace("127.0.0.1:9090", &admin.to_string())
    }

    fn run(&self, command: &str) -> Output {
        trunkstream(&[command, "--config", &self.0.display().to_string()]).output().expect("the binary starts")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.0.parent().expect("a directory of its own"));
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_wrong_file_is_exit_code_2_with_file_line_and_key_from_serve_and_check_alike() {
    let good = File::good();
    let misspelt = good.replace("rtp_ports", "rtp_port");
    let line = misspelt.lines().position(|line| line.contains("rtp_port")).expect("there") + 1;
    let bad_flow = good.replace("start = \"talk\"", "start = \"walk\"");
    let flow_line = bad_flow.lines().position(|line| line.contains("walk")).expect("there") + 1;
    for (text, line, key) in [(misspelt, line, "rtp_port"), (bad_flow, flow_line, "walk")] {
        let file = File::new(&text);
        let place = format!("{}:{line}: ", file.0.display());
        for command in ["serve", "check"] {
            let (code, out, err) = said(&file.run(command));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{command}: {err}");
            assert!(err.lines().any(|line| line.starts_with(&place) && line.contains(key)), "{command} {place}: {err}");
        }
    }
}

#[test]
fn a_file_that_is_not_there_and_wrong_arguments_are_exit_code_2() {
    let nowhere = trunkstream(&["serve", "--config", "/nowhere/at/all.toml"]).output().expect("the binary starts");
    let (code, _, err) = said(&nowhere);
    assert_eq!(code, Some(2));
    assert!(err.starts_with("/nowhere/at/all.toml: cannot be read"), "{err}");
    for arguments in [&["serve"][..], &["sing"], &["check", "--config"], &["bot", "--mode", "sulk"]] {
        assert_eq!(said(&trunkstream(arguments).output().expect("the binary starts")).0, Some(2), "{arguments:?}");
    }
}

#[test]
fn check_is_0_for_a_good_file_and_1_where_the_host_stands_in_the_way() {
    let text = File::good();
    let (code, out, err) = said(&File::new(&text).run("check"));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("READY: the file is good"), "{out}");
    let sip = text.split("udp:").nth(1).and_then(|rest| rest.split('"').next()).expect("an address");
    let _taken = std::net::UdpSocket::bind(sip).expect("free");
    let file = File::new(&text);
    let (code, out, _) = said(&file.run("check"));
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("NOT READY") && out.contains("FAIL") && out.contains(sip), "{out}");
    // serve is not started either, and names the address.
    let (code, _, err) = said(&file.run("serve"));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&format!("sip.listen: {sip} cannot be opened")), "{err}");
    assert!(err.contains("another program has this port") && err.contains("ss -lnup"), "{err}");
}

#[test]
fn help_teaches_every_command_and_is_exit_code_0() {
    let (code, out, _) = said(&trunkstream(&["--help"]).output().expect("the binary starts"));
    assert_eq!(code, Some(0));
    for word in ["serve", "check", "demo", "call", "replay", "bot", "Exit codes"] {
        assert!(out.contains(word), "{word}\n{out}");
    }
}
