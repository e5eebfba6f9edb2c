//! Every number has its proof: `sip-fixtures/requirements.toml` says what each stands for, tests and scenarios name the
//! numbers they prove, and the table in `sip-fixtures/README.md` brings both together.
//!
//! `TRUNKSTREAM_BLESS=1 cargo test --test requirements` writes the table, and takes away what is listed as open but proven.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

const LIST: &str = "sip-fixtures/requirements.toml";
const README: &str = "sip-fixtures/README.md";
const BEGIN: &str = "<!-- requirements: begin -->\n";
const END: &str = "<!-- requirements: end -->\n";
/// Subjects whose numbers are listed.
const SUBJECTS: [&str; 4] = ["SIP", "SDP", "HDR", "OPS"];
/// Proofs of one number that the table names; the others are counted.
const NAMED: usize = 4;

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    text: String,
    /// The file and heading that it is.
    documented: Option<String>,
    /// The capability that brings it.
    open: Option<String>,
}

/// What names each number: tests and scenarios.
type Proofs = BTreeMap<String, Vec<String>>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn requirements() -> BTreeMap<String, Requirement> {
    toml::from_str(&read(LIST)).unwrap_or_else(|error| panic!("{LIST}: {error}"))
}

/// The numbers at the beginning of a test's name: `sip_020_sip_021_a_response…` has two.
fn numbers_of(name: &str) -> Vec<String> {
    let (mut numbers, mut rest) = (Vec::new(), name);
    while let Some((subject, after)) = rest.split_once('_') {
        let subject = subject.to_uppercase();
        let digits = after.get(..3).filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        let Some(digits) = digits.filter(|_| SUBJECTS.contains(&subject.as_str())) else { break };
        match after[3..].strip_prefix('_') {
            Some(more) => {
                numbers.push(format!("{subject}-{digits}"));
                rest = more;
            }
            None => break,
        }
    }
    numbers
}

/// The names of the tests in a Rust source.
fn tests_of(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        let declared = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "));
        match declared {
            Some(rest) if is_test => {
                names.push(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
                is_test = false;
            }
            Some(_) => is_test = false,
            None if line.starts_with("#[test]") || line.starts_with("#[tokio::test") => is_test = true,
            None => {}
        }
    }
    names
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn proofs() -> Proofs {
    let mut proofs = Proofs::new();
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| rust_files(&root().join(folder), &mut files));
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).expect("a source can be read");
        for name in tests_of(&text) {
            for number in numbers_of(&name) {
                proofs.entry(number).or_default().push(format!("`{name}`"));
            }
        }
    }
    let scenarios: BTreeMap<String, toml::Table> =
        toml::from_str(&read("sip-fixtures/scenarios.toml")).expect("scenarios.toml is tables");
    for (name, scenario) in scenarios {
        for number in scenario.get("proves").and_then(toml::Value::as_array).into_iter().flatten() {
            let number = number.as_str().expect("a number is text");
            if SUBJECTS.contains(&&number[..3]) {
                proofs.entry(number.to_owned()).or_default().push(format!("[`{name}`](#what-each-proves)"));
            }
        }
    }
    proofs
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What the list lacks or has too much, by what proves its numbers.
fn faults(list: &BTreeMap<String, Requirement>, proofs: &Proofs) -> Vec<String> {
    let mut faults: Vec<String> = proofs
        .iter()
        .filter(|(number, _)| !list.contains_key(*number))
        .map(|(number, by)| format!("{number}, which {} proves, is not in {LIST}", by[0]))
        .collect();
    for (number, requirement) in list {
        let proven = proofs.contains_key(number);
        match (&requirement.documented, &requirement.open) {
            (Some(_), Some(_)) => faults.push(format!("{number} is documentation and open at once")),
            (None, None) if !proven => faults.push(format!("{number} has no test: {}", requirement.text)),
            (None, Some(_)) if proven => {
                faults.push(format!("{number} is listed as open, and {} proves it", proofs[number][0]));
            }
            _ => {}
        }
    }
    faults
}

fn heading_exists(place: &str) -> bool {
    let Some((file, anchor)) = place.split_once('#') else { return false };
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    let anchor_of = |heading: &str| -> String {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    text.lines().any(|line| line.starts_with('#') && anchor_of(line) == anchor)
}

/// The table of the list, between its marks.
fn table(list: &BTreeMap<String, Requirement>, proofs: &Proofs) -> String {
    let mut out = format!("{BEGIN}| number | what it stands for | proven by |\n|---|---|---|\n");
    for subject in SUBJECTS {
        for (number, requirement) in list.iter().filter(|(number, _)| number.starts_with(subject)) {
            let _ = writeln!(out, "| {number} | {} | {} |", requirement.text, proof_of(number, requirement, proofs));
        }
    }
    out + END
}

fn proof_of(number: &str, requirement: &Requirement, proofs: &Proofs) -> String {
    let mut parts = Vec::new();
    if let Some(place) = &requirement.documented {
        parts.push(format!("documentation: [{place}](../{place})"));
    }
    if let Some(capability) = &requirement.open {
        parts.push(format!("open: {capability}"));
    }
    let by = proofs.get(number).map_or(&[][..], Vec::as_slice);
    parts.extend(by.iter().take(NAMED).cloned());
    if by.len() > NAMED {
        parts.push(format!("and {} more", by.len() - NAMED));
    }
    parts.join(", ")
}

/// The list without the marks of what is open but proven.
fn settled(text: &str, proofs: &Proofs) -> String {
    let settle = |line: &str| {
        let number = line.split(' ').next().unwrap_or_default();
        match line.find(", open = ").filter(|_| proofs.contains_key(number)) {
            Some(at) => format!("{} }}\n", &line[..at]),
            None => format!("{line}\n"),
        }
    };
    text.lines().map(settle).collect()
}

#[test]
fn every_number_has_a_test_or_is_documentation_or_open_by_name() {
    let proofs = proofs();
    if std::env::var_os("TRUNKSTREAM_BLESS").is_some() {
        fs::write(root().join(LIST), settled(&read(LIST), &proofs)).expect("the list can be written");
    }
    let list = requirements();
    assert!(list.len() >= 150, "{} numbers", list.len());
    assert_none(&faults(&list, &proofs));
    let well_formed =
        |number: &&String| numbers_of(&format!("{}_x", number.to_lowercase().replace('-', "_"))) == [number.as_str()];
    assert_none(&list.keys().filter(|number| !well_formed(number)).cloned().collect::<Vec<_>>());
    let places = list.iter().filter_map(|(number, requirement)| Some((number, requirement.documented.as_ref()?)));
    let missing =
        places.filter(|(_, place)| !heading_exists(place)).map(|(number, place)| format!("{number}: {place}"));
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn the_table_of_numbers_is_fresh() {
    let (proofs, readme) = (proofs(), read(README));
    let mut list: BTreeMap<String, Requirement> = toml::from_str(&settled(&read(LIST), &proofs)).expect("the list");
    list.retain(|_, requirement| !requirement.text.is_empty());
    let (before, rest) = readme.split_once(BEGIN).expect("the table's first mark");
    let (_, after) = rest.split_once(END).expect("the table's last mark");
    let fresh = format!("{before}{}{after}", table(&list, &proofs));
    if std::env::var_os("TRUNKSTREAM_BLESS").is_some() {
        fs::write(root().join(README), &fresh).expect("the README can be written");
    } else {
        assert!(
            readme == fresh,
            "{README} is stale: TRUNKSTREAM_BLESS=1 cargo test --test requirements writes its table"
        );
    }
}

/// The rules on a made-up list: each finds what it is for.
mod on_a_made_up_list {
    use super::*;

    fn list(text: &str) -> BTreeMap<String, Requirement> {
        toml::from_str(text).expect("a list")
    }

    fn proofs(numbers: &[&str]) -> Proofs {
        numbers.iter().map(|number| ((*number).to_owned(), vec!["`t`".to_owned()])).collect()
    }

    #[test]
    fn numbers_are_read_from_the_beginning_of_a_name_alone() {
        assert_eq!(numbers_of("sip_020_sip_021_a_response"), ["SIP-020", "SIP-021"]);
        assert_eq!(numbers_of("ops_001_200_calls"), ["OPS-001"]);
        assert_eq!(numbers_of("rtp_030_x"), [""; 0]);
        assert_eq!(numbers_of("after_sip_020_x"), [""; 0]);
        assert_eq!(numbers_of("sip_20_x"), [""; 0]);
    }

    #[test]
    fn only_what_is_a_test_is_one() {
        let source = "fn sip_001_no() {}\n#[test]\n#[cfg(x)]\nfn sip_002_yes() {}\n    #[tokio::test(flavor = \"x\")]\n    \
                      async fn sip_003_yes() {}\nfn sip_004_no() {}";
        assert_eq!(tests_of(source), ["sip_002_yes", "sip_003_yes"]);
    }

    #[test]
    fn a_number_without_a_test_fails_and_so_does_a_test_without_its_number() {
        let one = list("SIP-001 = { text = \"x\" }");
        assert_eq!(faults(&one, &proofs(&["SIP-001"])), [""; 0]);
        assert_eq!(faults(&one, &proofs(&[])), ["SIP-001 has no test: x"]);
        assert_eq!(faults(&one, &proofs(&["SIP-001", "SIP-002"])).len(), 1);
    }

    #[test]
    fn what_is_open_needs_no_test_and_is_open_no_more_with_one() {
        let text = "SIP-001 = { text = \"x\", open = \"later\" }\n";
        assert_eq!(faults(&list(text), &proofs(&[])), [""; 0]);
        assert_eq!(faults(&list(text), &proofs(&["SIP-001"])).len(), 1);
        assert_eq!(settled(text, &proofs(&["SIP-001"])), "SIP-001 = { text = \"x\" }\n");
        assert_eq!(settled(text, &proofs(&[])), text);
    }

    #[test]
    fn a_heading_that_does_not_exist_is_none() {
        assert!(heading_exists("README.md#running-it"));
        assert!(!heading_exists("README.md#walking-it") && !heading_exists("NOWHERE.md#running-it"));
    }

    #[test]
    fn the_table_names_a_few_proofs_and_counts_the_others() {
        let by = (1..=6).map(|n| format!("`t{n}`")).collect();
        let table = table(&list("OPS-001 = { text = \"x\" }"), &[("OPS-001".to_owned(), by)].into());
        assert!(table.contains("| OPS-001 | x | `t1`, `t2`, `t3`, `t4`, and 2 more |\n"), "{table}");
    }
}
