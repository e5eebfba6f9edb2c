//! The SIP ladder: who sent what when, one line a message.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sip::message::{CSeq, Message};
use crate::sip::wire;
use crate::sip::{Headers, Reason};

/// Columns between the two sides.
const WIDTH: usize = 58;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From us.
    Out,
    /// To us.
    In,
}

/// Draws messages as they come; a copy of an earlier message is marked as such.
#[derive(Debug, Default)]
pub struct Ladder {
    seen: Vec<(Direction, Vec<u8>)>,
}

impl Ladder {
    /// The two sides' names and addresses, as the first line.
    #[must_use]
    pub fn head(ours: (&str, SocketAddr), theirs: (&str, SocketAddr)) -> String {
        let (left, right) = (format!("{} {}", ours.0, ours.1), format!("{} {}", theirs.0, theirs.1));
        let gap = (WIDTH + 1).saturating_sub(left.chars().count() + right.chars().count()).max(2);
        format!("{:9}{left}{:gap$}{right}", "", "")
    }

    /// The line of a message `elapsed` after the first.
    pub fn message(&mut self, elapsed: Duration, direction: Direction, bytes: &[u8]) -> String {
        let mut text = summary(bytes);
        if self.seen.iter().any(|(way, seen)| *way == direction && seen == bytes) {
            text.push_str(" (again)");
        } else {
            self.seen.push((direction, bytes.to_vec()));
        }
        let line = "─".repeat(WIDTH.saturating_sub(text.chars().count() + 4).max(2));
        match direction {
            Direction::Out => format!("{:>7.3}  │ {text} {line}▶│", elapsed.as_secs_f64()),
            Direction::In => format!("{:>7.3}  │◀{line} {text} │", elapsed.as_secs_f64()),
        }
    }

    /// A line that is no message: what happens in the media.
    #[must_use]
    pub fn remark(elapsed: Duration, text: &str) -> String {
        let text: String = text.chars().take(WIDTH - 2).collect();
        format!("{:>7.3}  │{text:^inner$}│", elapsed.as_secs_f64(), inner = WIDTH - 1)
    }
}

/// What the message is, in a few words: its method, or its status and what that answers, and the reasons given.
fn summary(bytes: &[u8]) -> String {
    let Ok(parsed) = wire::parse(bytes) else { return format!("{} octets that are no SIP", bytes.len()) };
    let (mut text, headers) = match &parsed.message {
        Message::Request(request) => (request.method.as_str().to_owned(), &request.headers),
        Message::Response(response) => (status(response.code, &response.phrase, &response.headers), &response.headers),
    };
    for reason in Reason::parse_all(headers.get_all("Reason")) {
        let _ = write!(text, "  {reason}");
    }
    if text.chars().count() > WIDTH - 8 {
        text = text.chars().take(WIDTH - 9).chain(['…']).collect();
    }
    text
}

/// `200 OK (BYE)`; what an INVITE is answered needs no saying.
fn status(code: u16, phrase: &str, headers: &Headers) -> String {
    let method = headers.get("CSeq").and_then(CSeq::parse).map(|cseq| cseq.method.as_str().to_owned());
    match method {
        Some(method) if method != "INVITE" => format!("{code} {phrase} ({method})"),
        _ => format!("{code} {phrase}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVITE: &[u8] = b"INVITE sip:1000@192.0.2.1 SIP/2.0\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";

    fn line(direction: Direction, message: &str) -> String {
        Ladder::default().message(Duration::from_millis(1_234), direction, message.as_bytes())
    }

    #[test]
    fn arrows_point_to_who_gets_the_message_and_lines_end_in_one_column() {
        let mut ladder = Ladder::default();
        let out = ladder.message(Duration::ZERO, Direction::Out, INVITE);
        let back = line(Direction::In, "SIP/2.0 100 Trying\r\nCSeq: 1 INVITE\r\n\r\n");
        assert!(out.starts_with("  0.000  │ INVITE ────") && out.ends_with("──▶│"), "{out}");
        assert!(back.starts_with("  1.234  │◀────") && back.ends_with("─── 100 Trying │"), "{back}");
        let head =
            Ladder::head(("caller", "192.0.2.2:5070".parse().unwrap()), ("bridge", "192.0.2.1:5060".parse().unwrap()));
        let remark = Ladder::remark(Duration::from_secs(1), "digits 1 5 9 #");
        for other in [back, head, remark] {
            assert_eq!(other.chars().count(), out.chars().count(), "{other}");
        }
    }

    #[test]
    fn a_copy_is_marked_and_the_same_words_the_other_way_are_none() {
        let mut ladder = Ladder::default();
        assert!(!ladder.message(Duration::ZERO, Direction::Out, INVITE).contains("again"));
        assert!(ladder.message(Duration::ZERO, Direction::Out, INVITE).contains("INVITE (again)"));
        assert!(!ladder.message(Duration::ZERO, Direction::In, INVITE).contains("again"));
    }

    #[test]
    fn answers_name_what_they_answer_and_reasons_are_shown() {
        let ok = line(Direction::In, "SIP/2.0 200 OK\r\nCSeq: 2 BYE\r\n\r\n");
        assert!(ok.contains("200 OK (BYE)"), "{ok}");
        let bye = line(Direction::In, "BYE sip:a@192.0.2.1 SIP/2.0\r\nReason: Q.850;cause=16\r\nCSeq: 2 BYE\r\n\r\n");
        assert!(bye.contains("BYE  Q.850;cause=16 │"), "{bye}");
    }

    #[test]
    fn garbage_and_endless_phrases_are_drawn_too() {
        assert!(line(Direction::In, "hello").contains("5 octets that are no SIP"));
        let long = line(Direction::In, &format!("SIP/2.0 500 {}\r\nCSeq: 1 INVITE\r\n\r\n", "x".repeat(300)));
        assert_eq!(long.chars().count(), line(Direction::In, "hello").chars().count());
    }
}
