//! The map in ARCHITECTURE.md, kept true: who may use whom, what pure modules never say, a home for each foreign crate,
//! how long a file may be, and names that say nothing.

#[path = "architecture/code.rs"]
mod code;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use code::{bare, without_tests};

const PURE: &[&str] = &["base", "config", "sip", "sdp", "media", "stream", "flow", "call"];

/// Words that pure modules never say outside their tests.
const IMPURE: &[&str] = &[
    "tokio::",
    "async fn",
    ".await",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "Instant::now",
    "SystemTime::now",
    "thread::",
    "std::fs",
    "std::env",
    "std::process",
    "println!",
    "eprintln!",
];

/// Where a foreign crate is at home: beginnings of paths under src. An empty list is everywhere.
const HOMES: &[(&str, &[&str])] = &[
    ("rsip", &["sip/message.rs"]),
    ("sdp_types", &["sdp/session.rs"]),
    ("rtp_rs", &["media/rtp/packet.rs"]),
    ("rtcp", &["media/rtp/rtcp.rs"]),
    ("webrtc_util", &["media/rtp/rtcp.rs"]),
    ("rubato", &["media/resample/block.rs"]),
    ("audiopus", &["media/codec/opus.rs"]),
    ("webrtc_srtp", &["media/rtp/srtp.rs"]),
    ("pcap_file", &["lab/pcap.rs", "server/trace/pcapng.rs"]),
    ("hound", &["lab/wav.rs"]),
    ("tokio", &["net/", "api/", "server/", "lab/", "cli/"]),
    ("tokio_tungstenite", &["net/", "lab/"]),
    ("tokio_rustls", &["net/", "lab/"]),
    ("rustls_native_certs", &["net/tls.rs"]),
    ("futures_util", &["net/", "lab/", "api/trace.rs"]),
    ("socket2", &["net/mod.rs", "server/host.rs", "lab/pbx/"]),
    ("rustix", &["net/rtp_socket.rs", "net/sip_tcp.rs", "server/"]),
    ("libc", &["net/datagrams.rs"]),
    ("thread_priority", &["server/priority.rs"]),
    ("axum", &["api/"]),
    ("sd_notify", &["cli/serve.rs"]),
    ("serde", &[]),
    (
        "serde_json",
        &[
            "stream/",
            "api/trace.rs",
            "call/headers.rs",
            "server/records.rs",
            "config/reference.rs",
            "config/shape.rs",
            "lab/",
            "cli/",
        ],
    ),
    ("base64_simd", &["stream/base64.rs", "sdp/crypto.rs", "lab/"]),
    ("toml", &["config/", "flow/", "server/host.rs"]),
    ("serde_path_to_error", &["flow/settings.rs"]),
    ("schemars", &["config/", "flow/"]),
    ("ipnet", &["config/", "sip/", "sdp/", "media/", "server/host.rs", "server/trace/"]),
    ("clap", &["cli/"]),
    ("secrecy", &["stream/target.rs", "net/websocket/", "config/", "sip/digest/", "server/mod.rs", "cli/secret.rs"]),
    ("sha2", &["sip/digest/"]),
    ("md5", &["sip/digest/"]),
    ("hmac", &["sip/digest/"]),
    ("subtle", &["sip/digest/"]),
    ("hickory_resolver", &["net/dns.rs"]),
    ("percent_encoding", &["stream/target.rs", "sip/uri.rs", "flow/applet/connect.rs"]),
    ("tracing", &[]),
    ("tracing_subscriber", &["cli/logging.rs"]),
    ("metrics", &["base/metric.rs", "server/shard/mod.rs"]),
    ("metrics_exporter_prometheus", &["api/"]),
    ("rand", &["base/random.rs"]),
    ("slab", &["server/shard/"]),
    ("anyhow", &["cli/", "server/"]),
    ("thiserror", &[]),
];

/// Words that say nothing in the name of a file, module, type or function.
const EMPTY_WORDS: &[&str] =
    &["manager", "handler", "processor", "helper", "helpers", "util", "utils", "common", "misc", "wrapper"];

const MOST_LINES: usize = 500;

/// A file of src: its path under src, and what it says without comments, strings and tests.
struct Source {
    path: String,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), code: without_tests(&bare(text)) }
    }

    /// The top module: `sip` for `sip/wire.rs`, `main` for `main.rs`.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or("")
    }

    /// Whether the file is compiled for tests only, by its name.
    fn is_test(&self) -> bool {
        let names = self.path.trim_end_matches(".rs").split('/');
        names.into_iter().any(|name| matches!(name, "tests" | "testing") || name.ends_with("_tests"))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The places where `word` stands in `code` as a whole word that does not continue a path.
fn whole_words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| begins_a_path(&code[..*at]) && !code[at + word.len()..].starts_with(is_word))
}

/// Whether what follows `before` is the first name of a path; `::name` is, `a::name` is not.
fn begins_a_path(before: &str) -> bool {
    let before = before.strip_suffix("::").unwrap_or(before);
    !before.ends_with(is_word)
}

/// The names at the top of what follows `crate::`: one, or those of a group in braces.
fn names_after(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| is_word(*c)).collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut names, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(name(&group[start..at]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Top modules that a file uses besides its own: by `crate::`, in the binary by `trunkstream::`, and by enough `super::`.
fn used(source: &Source, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for root in ["crate::", "trunkstream::"] {
        for (at, _) in source.code.match_indices(root) {
            found.extend(names_after(&source.code[at + root.len()..]));
        }
    }
    let depth = source.path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
    let climb = "super::".repeat(depth);
    for (at, _) in source.code.match_indices(&climb).filter(|(at, _)| begins_a_path(&source.code[..*at])) {
        found.extend(names_after(&source.code[at + climb.len()..]));
    }
    found.retain(|name| modules.contains(name) && name != source.module());
    found
}

/// Reads the arrows of ARCHITECTURE.md: `x → y, z`, in the block that is marked `arrows`.
fn arrows(document: &str) -> BTreeMap<String, BTreeSet<String>> {
    let block = document.split("```arrows\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or("");
    let line = |line: &str| {
        let (from, to) = line.split_once(" → ")?;
        Some((from.trim().to_owned(), to.split(',').map(|name| name.trim().to_owned()).collect()))
    };
    block.lines().filter_map(line).collect()
}

/// Arrows of the sources that are not drawn, and drawn ones that nobody uses. `base` and `config` lie below everything.
fn wrong_arrows(
    sources: &[Source],
    modules: &BTreeSet<String>,
    drawn: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut real: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| !source.is_test() && source.path != "lib.rs") {
        for to in used(source, modules) {
            let below = match source.module() {
                "base" => false,
                "config" => to == "base",
                _ => to == "base" || to == "config",
            };
            if !below && !drawn.get(source.module()).is_some_and(|allowed| allowed.contains(&to)) {
                wrong.push(format!("{} uses {to}", source.path));
            }
            real.entry(source.module()).or_default().insert(to);
        }
    }
    for (from, to) in drawn.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to))) {
        if !real.get(from.as_str()).is_some_and(|used| used.contains(to)) {
            wrong.push(format!("{from} → {to} is drawn, and nobody uses it"));
        }
    }
    wrong
}

/// Modules from which the drawn arrows lead back to themselves.
fn circles(drawn: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let reach = |start: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(at) = next.pop() {
            next.extend(drawn.get(at).into_iter().flatten().filter(|name| seen.insert((*name).clone())));
        }
        seen
    };
    drawn.keys().filter(|start| reach(start).contains(*start)).cloned().collect()
}

/// Impure words in pure modules.
fn impurities(sources: &[Source]) -> Vec<String> {
    let pure = sources.iter().filter(|source| PURE.contains(&source.module()) && !source.is_test());
    pure.flat_map(|source| {
        let said = IMPURE.iter().filter(|word| says(&source.code, word));
        said.map(|word| format!("{} says {word}", source.path))
    })
    .collect()
}

/// Whether `code` has `word`, not as the beginning of a longer name.
fn says(code: &str, word: &str) -> bool {
    let longer = |at: usize| word.ends_with(is_word) && code[at + word.len()..].starts_with(is_word);
    code.match_indices(word).any(|(at, _)| !longer(at))
}

/// Whether a file's code uses a foreign crate: `name::` that is neither the rest of a path nor a module declared here.
fn uses_crate(source: &Source, name: &str) -> bool {
    let declared = whole_words(&source.code, name).any(|at| source.code[..at].ends_with("mod "));
    !declared && whole_words(&source.code, name).any(|at| source.code[at + name.len()..].starts_with("::"))
}

/// Crates outside their homes, and homes of crates that nobody uses there.
fn homeless(sources: &[Source], homes: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, home) in homes.iter().filter(|(_, home)| !home.is_empty()) {
        let users: Vec<&str> = sources
            .iter()
            .filter(|source| !source.is_test() && uses_crate(source, name))
            .map(|source| source.path.as_str())
            .collect();
        let outside = users.iter().filter(|path| !home.iter().any(|begin| path.starts_with(begin)));
        wrong.extend(outside.map(|path| format!("{path} uses {name}, which lives in {}", home.join(", "))));
        let empty = home.iter().filter(|begin| !users.iter().any(|path| path.starts_with(**begin)));
        wrong.extend(empty.map(|begin| format!("{begin} is named as a home of {name}, which is not used there")));
    }
    wrong
}

/// Names that say nothing: parts of paths, and what the code declares.
fn empty_names(source: &Source) -> Vec<String> {
    let mut names: Vec<String> = source.path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    for keyword in ["struct ", "enum ", "trait ", "type ", "mod ", "fn "] {
        for (at, _) in source.code.match_indices(keyword) {
            if !source.code[..at].ends_with(is_word) {
                names.extend(names_after(&source.code[at + keyword.len()..]));
            }
        }
    }
    let empty = |name: &String| words(name).iter().any(|word| EMPTY_WORDS.contains(&word.as_str()));
    names.into_iter().filter(empty).map(|name| format!("{}: {name}", source.path)).collect()
}

/// The words of `snake_case` and `CamelCase`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c != '_', words.last_mut()) {
            word.extend(c.to_lowercase());
        }
    }
    words
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file below a folder, with its path under it.
fn rust_files(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let under = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
                files.push((under, path));
            }
        }
    }
    files
}

fn sources() -> Vec<Source> {
    rust_files(&root().join("src")).iter().map(|(under, path)| Source::new(under, &read(path))).collect()
}

/// The modules that `lib.rs` declares.
fn modules() -> BTreeSet<String> {
    let lib = read(&root().join("src/lib.rs"));
    lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).map(str::to_owned).collect()
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_use_between_modules_is_an_arrow_of_the_architecture_and_every_arrow_is_used() {
    let drawn = arrows(&read(&root().join("ARCHITECTURE.md")));
    assert!(drawn.len() > 4, "no arrows found in ARCHITECTURE.md");
    assert_none(&wrong_arrows(&sources(), &modules(), &drawn));
    assert_none(&circles(&drawn));
}

#[test]
fn pure_modules_have_no_socket_clock_task_thread_or_file() {
    assert_none(&impurities(&sources()));
}

#[test]
fn ops_024_nothing_that_paces_media_reads_a_clock_that_can_be_set() {
    let paces = |source: &Source| {
        ["media", "stream", "call"].contains(&source.module())
            || ["server/clock.rs", "server/shard/tick.rs"].contains(&source.path.as_str())
    };
    let sources: Vec<Source> = sources().into_iter().filter(|source| paces(source) && !source.is_test()).collect();
    assert!(sources.iter().any(|source| says(&source.code, "ClockId::Monotonic")), "the media clock is among them");
    let wrong = sources
        .iter()
        .filter(|source| ["SystemTime::now", "Realtime", "REALTIME"].iter().any(|word| says(&source.code, word)));
    assert_none(&wrong.map(|source| source.path.clone()).collect::<Vec<_>>());
}

#[test]
fn every_foreign_crate_has_a_home_and_stays_there() {
    assert_none(&homeless(&sources(), HOMES));
    let manifest: toml::Table = read(&root().join("Cargo.toml")).parse().expect("Cargo.toml is TOML");
    let crates = manifest["dependencies"].as_table().expect("a table");
    let named: BTreeSet<String> = crates.keys().map(|name| name.replace('-', "_")).collect();
    let homes: BTreeSet<String> = HOMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(named, homes, "the dependencies and the list of homes differ");
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let files = ["src", "tests", "benches"].into_iter().flat_map(|folder| rust_files(&root().join(folder)));
    let lines = files.map(|(_, path)| (read(&path).lines().count(), path));
    let long: Vec<String> = lines
        .filter(|(lines, _)| *lines > MOST_LINES)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_none(&long);
}

#[test]
fn no_name_says_nothing() {
    assert_none(&sources().iter().flat_map(empty_names).collect::<Vec<_>>());
}

#[test]
fn every_folder_of_src_is_a_module_of_the_library() {
    let folders = fs::read_dir(root().join("src")).expect("src").flatten().filter(|entry| entry.path().is_dir());
    let folders: BTreeSet<String> = folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(folders, modules());
}

/// The rules on made-up sources: each finds what it is for, and lets pass what looks like it.
mod on_made_up_sources {
    use super::*;

    fn made_up(path: &str, text: &str) -> Vec<Source> {
        vec![Source::new(path, text)]
    }

    fn drawn(text: &str) -> BTreeMap<String, BTreeSet<String>> {
        arrows(&format!("```arrows\n{text}\n```"))
    }

    fn wrong(path: &str, text: &str, allowed: &str) -> Vec<String> {
        let modules = ["base", "config", "sip", "sdp", "call", "cli"].map(str::to_owned).into();
        wrong_arrows(&made_up(path, text), &modules, &drawn(allowed))
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found_in_every_spelling() {
        for text in [
            "use crate::sdp::Offer;",
            "fn f() { let _ = crate::sdp::offer(); }",
            "use crate::{base::id, sdp::{Offer, Answer}};",
            "use super::super::sdp;",
        ] {
            assert_eq!(wrong("sip/wire.rs", text, ""), ["sip/wire.rs uses sdp"], "{text}");
        }
        assert_eq!(wrong("base/id.rs", "use crate::config;", ""), ["base/id.rs uses config"]);
        assert_eq!(wrong("main.rs", "fn main() { trunkstream::cli::run() }", ""), ["main.rs uses cli"]);
    }

    #[test]
    fn what_lies_below_comments_strings_and_tests_are_no_arrows() {
        for text in [
            "use crate::base::id; use crate::config; use crate::sip::uri; use super::via;",
            "// crate::sdp\n/* crate::sdp */ const A: &str = \"crate::sdp\"; const B: &str = r#\"\"crate::sdp\"#;",
            "#[cfg(test)]\nmod tests { use crate::sdp::Offer; fn f() {} }\nfn g<'a>(c: char) -> bool { c == '\"' }",
        ] {
            assert_eq!(wrong("sip/wire.rs", text, ""), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_drawn_arrow_that_nobody_uses_and_a_circle_are_found() {
        let found = wrong("call/leg.rs", "use crate::sip::Uri;", "call → sip, sdp");
        assert_eq!(found, ["call → sdp is drawn, and nobody uses it"]);
        assert_eq!(circles(&drawn("a → b\nb → c\nc → a")), ["a", "b", "c"]);
        assert!(circles(&drawn("a → b, c\nb → c")).is_empty());
    }

    #[test]
    fn impure_words_are_found_outside_tests_of_pure_modules_only() {
        let clock = "fn f() { Instant::now(); }";
        assert_eq!(impurities(&made_up("sip/wire.rs", clock)), ["sip/wire.rs says Instant::now"]);
        let test = format!("#[cfg(test)] mod tests {{ {clock} }}");
        assert!(impurities(&made_up("sip/wire.rs", &test)).is_empty());
        assert!(impurities(&made_up("net/rtp.rs", clock)).is_empty());
    }

    #[test]
    fn a_crate_outside_its_home_is_found_and_a_module_of_its_name_is_not_taken_for_it() {
        let homes: &[(&str, &[&str])] = &[("rtcp", &["media/rtp/rtcp.rs"])];
        let report = |path: &str, text: &str| {
            let home = Source::new("media/rtp/rtcp.rs", "use rtcp::packet::Packet;");
            homeless(&[home, Source::new(path, text)], homes)
        };
        assert_eq!(report("call/leg.rs", "use ::rtcp::Goodbye;").len(), 1);
        assert_eq!(report("call/leg.rs", "let x = vec![rtcp::Goodbye {}];").len(), 1);
        assert!(report("call/leg.rs", "use super::rtp::rtcp::{Read, Reports};").is_empty());
        assert!(report("media/rtp/mod.rs", "pub mod rtcp; pub use rtcp::Read;").is_empty());
        assert_eq!(homeless(&[], homes).len(), 1, "a home that is empty");
    }

    #[test]
    fn names_that_say_nothing_are_found_as_words_not_as_letters() {
        let found = |path: &str, text: &str| made_up(path, text).iter().flat_map(empty_names).collect::<Vec<_>>();
        assert_eq!(found("sip/call_manager.rs", ""), ["sip/call_manager.rs: call_manager"]);
        assert_eq!(found("sip/a.rs", "struct CallHandler;"), ["sip/a.rs: CallHandler"]);
        assert!(found("sip/a.rs", "fn handle_timeout() {} struct Utilisation; use webrtc_util::Marshal;").is_empty());
    }
}
