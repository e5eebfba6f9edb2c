//! Where each key stands in the file, and what is wrong with it.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Place, Problem};

/// Where a key stands and how an operator would name it.
#[derive(Debug, Clone)]
struct Spot {
    line: usize,
    shown: String,
}

/// The problems of one file, and the places to pin them to. Keys are addressed by index, `trunk[0].allow[2]`, and shown
/// by name, `trunk.lab.allow`.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    line_starts: Vec<usize>,
    spots: HashMap<String, Spot>,
    problems: Vec<(String, Problem)>,
}

impl Report {
    pub fn new(file: &str, text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), line_starts, spots: HashMap::new(), problems: Vec::new() }
    }

    /// The line, from 1, of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Remembers that the key `path`, shown as `shown`, stands at the byte `offset`.
    pub fn mark(&mut self, path: &str, shown: String, offset: usize) {
        let line = self.line_of(offset);
        self.spots.insert(path.to_owned(), Spot { line, shown });
    }

    /// How the key is named to the operator.
    pub fn shown(&self, path: &str) -> String {
        self.spot(path).shown
    }

    /// The place of a key; of the table around it where the key itself is not written.
    pub fn place(&self, path: &str) -> Place {
        Place { file: self.file.clone(), line: self.spot(path).line }
    }

    fn spot(&self, path: &str) -> Spot {
        if let Some(spot) = self.spots.get(path) {
            return spot.clone();
        }
        match path.rsplit_once('.') {
            None => Spot { line: 1, shown: path.to_owned() },
            Some((table, key)) => {
                let around = self.spot(table);
                // A default stands in no line and is shown without its position in a list.
                let key = key.split('[').next().unwrap_or(key);
                Spot { line: around.line, shown: format!("{}.{key}", around.shown) }
            }
        }
    }

    /// Notes a problem with the key at `path`, unless one is known there or below: the first cause is the one to mend.
    pub fn wrong(&mut self, path: &str, message: impl Into<String>) {
        if self.is_wrong(path) {
            return;
        }
        let Spot { line, shown } = self.spot(path);
        self.push(path, line, shown, message.into());
    }

    /// Notes a problem at a byte offset, for what has no key.
    pub fn wrong_at(&mut self, offset: usize, key: &str, message: impl Into<String>) {
        let line = self.line_of(offset);
        self.push(key, line, key.to_owned(), message.into());
    }

    /// Adds a problem that was found elsewhere, unless one is known with the same key.
    pub fn found(&mut self, problem: Problem) {
        if self.problems.iter().all(|(_, known)| known.key != problem.key) {
            self.problems.push((problem.key.clone(), problem));
        }
    }

    fn push(&mut self, path: &str, line: usize, key: String, message: String) {
        let place = Place { file: self.file.clone(), line };
        self.problems.push((path.to_owned(), Problem { place, key, message }));
    }

    /// Whether a problem is known at the key or below it.
    pub fn is_wrong(&self, path: &str) -> bool {
        let below =
            |known: &str| known.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.problems.iter().any(|(known, _)| below(known))
    }

    /// Every problem, in the order of the file; `Ok` where there is none.
    pub fn finish(self) -> Result<(), Vec<Problem>> {
        let mut problems: Vec<Problem> = self.problems.into_iter().map(|(_, problem)| problem).collect();
        problems.sort_by_key(|problem| problem.place.line);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// The one of `known` nearest to `word`, where it is near enough to be what was meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3 + 1).min(4);
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|candidate| (distance(&word, candidate), candidate));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_counted_from_one_and_found_by_offset() {
        let report = Report::new("f", "a\nbc\n\nd");
        let lines: Vec<usize> = (0..8).map(|offset| report.line_of(offset)).collect();
        assert_eq!(lines, [1, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn the_nearest_key_is_suggested_and_a_far_one_is_not() {
        let known = ["rtp_ports", "listen_address", "advertised_address"];
        assert_eq!(nearest("rtp_port", known), Some("rtp_ports"));
        assert_eq!(nearest("advertized_address", known), Some("advertised_address"));
        assert_eq!(nearest("banana", known), None);
    }

    #[test]
    fn a_second_problem_above_a_known_one_is_not_noted() {
        let mut report = Report::new("f", "");
        report.wrong("trunk[0].allow[1]", "first");
        report.wrong("trunk[0].allow", "consequence");
        report.wrong("trunk[0].allowed", "another");
        assert_eq!(report.finish().unwrap_err().len(), 2);
    }
}
