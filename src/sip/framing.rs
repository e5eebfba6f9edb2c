//! A byte stream cut into messages by Content-Length (RFC 3261 sections 7.5 and 18.3; SIP-004), with the keepalives
//! between them (RFC 5626 section 3.5.1; SIP-005).
//!
//! Bytes go in as they are read; a frame comes out when it is whole, so many messages may come in one read and one
//! message in many. What cannot be cut ends the stream: where the next message begins is not known any more.

use super::wire::{self, Flaw};

/// What a stream may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a message before its body.
    pub header: usize,
    /// Bytes of a body.
    pub body: usize,
}

/// What a stream brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Vec<u8>),
    /// Two line ends between messages: one is to be sent back (RFC 5626 section 4.4.1).
    KeepAlive,
    /// The stream cannot be read any further. What there is of the message may still be enough to answer it; then the
    /// connection is to be closed.
    Broken {
        /// The message as far as it came.
        message: Vec<u8>,
        /// What is wrong.
        flaw: Flaw,
    },
}

/// Cuts one stream; after [`Frame::Broken`] it brings nothing more.
#[derive(Debug)]
pub struct Framer {
    limits: FrameLimits,
    buffer: Vec<u8>,
    /// How far the end of the header block has been looked for.
    searched: usize,
    /// Header block and body together, once the header block is there.
    whole: Option<usize>,
    /// Line ends since the last message.
    line_ends: u8,
    broken: bool,
}

impl Framer {
    /// A framer at the beginning of a stream.
    #[must_use]
    pub const fn new(limits: FrameLimits) -> Self {
        Self { limits, buffer: Vec::new(), searched: 0, whole: None, line_ends: 0, broken: false }
    }

    /// Bytes came. `poll_frame` is to be called until there is none before more are given: the buffer then never holds
    /// more than one message of the largest size and what was given last.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Whether a message has begun and is not complete.
    #[must_use]
    pub const fn is_partial(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        if self.whole.is_none() {
            if self.skip_line_ends() {
                return Some(Frame::KeepAlive);
            }
            match self.look_for_headers() {
                Ok(whole) => self.whole = whole,
                Err(flaw) => return Some(self.give_up(flaw)),
            }
        }
        let whole = self.whole.filter(|whole| *whole <= self.buffer.len())?;
        let rest = self.buffer.split_off(whole);
        (self.whole, self.searched, self.line_ends) = (None, 0, 0);
        Some(Frame::Message(std::mem::replace(&mut self.buffer, rest)))
    }

    /// Drops line ends before a message; `true` where two make a keepalive.
    fn skip_line_ends(&mut self) -> bool {
        let mut gone = 0;
        while self.line_ends < 2 {
            match &self.buffer[gone..] {
                [b'\r', b'\n', ..] => gone += 2,
                [b'\n', ..] => gone += 1,
                _ => break,
            }
            self.line_ends += 1;
        }
        self.buffer.drain(..gone);
        let keepalive = self.line_ends == 2;
        if keepalive {
            self.line_ends = 0;
        }
        keepalive
    }

    /// The length of the message that begins, once its header block is complete.
    fn look_for_headers(&mut self) -> Result<Option<usize>, Flaw> {
        let Some(first) = self.buffer.first() else { return Ok(None) };
        // Neither a method nor a version begins otherwise: it is TLS, or some other protocol altogether.
        if !first.is_ascii_alphabetic() && *first != b'\r' {
            return Err(Flaw::StartLine);
        }
        let Some(head) = end_of_headers(&self.buffer, self.searched) else {
            self.searched = self.buffer.len().saturating_sub(2);
            return if self.buffer.len() > self.limits.header { Err(Flaw::TooLarge) } else { Ok(None) };
        };
        if head > self.limits.header {
            return Err(Flaw::TooLarge);
        }
        let body = wire::announced_length(&self.buffer[..head])?;
        if body > self.limits.body { Err(Flaw::TooLarge) } else { Ok(Some(head + body)) }
    }

    fn give_up(&mut self, flaw: Flaw) -> Frame {
        self.broken = true;
        Frame::Broken { message: std::mem::take(&mut self.buffer), flaw }
    }
}

/// Where the body begins: behind the first empty line. `from` is where to begin to look.
fn end_of_headers(bytes: &[u8], from: usize) -> Option<usize> {
    let line_end = |(at, byte): (usize, &u8)| (*byte == b'\n').then_some(from + at + 1);
    bytes[from..].iter().enumerate().filter_map(line_end).find_map(|after| match &bytes[after..] {
        [b'\r', b'\n', ..] => Some(after + 2),
        [b'\n', ..] => Some(after + 1),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: FrameLimits = FrameLimits { header: 64 * 1024, body: 256 * 1024 };

    fn message(body: &str) -> String {
        format!("INFO sip:a@b SIP/2.0\r\nl : {}\r\nX-A: 1\r\n\r\n{body}", body.len())
    }

    /// What comes out of `bytes` in pieces of at most `piece`.
    fn cut(bytes: &[u8], piece: usize, limits: FrameLimits) -> Vec<Frame> {
        let (mut framer, mut frames) = (Framer::new(limits), Vec::new());
        for part in bytes.chunks(piece) {
            framer.handle_bytes(part);
            while let Some(frame) = framer.poll_frame() {
                frames.push(frame);
            }
        }
        frames
    }

    fn flaw_of(text: &str, limits: FrameLimits) -> Option<Flaw> {
        match cut(text.as_bytes(), text.len(), limits).pop() {
            Some(Frame::Broken { flaw, .. }) => Some(flaw),
            Some(Frame::Message(_) | Frame::KeepAlive) | None => None,
        }
    }

    #[test]
    fn sip_004_many_messages_come_in_one_read_and_one_in_many() {
        let (first, second) = (message("abc\r\n\r\nINFO"), message(""));
        let stream = format!("\r\n{first}{second}\r\n{first}");
        let expected = [&first, &second, &first].map(|text| Frame::Message(text.clone().into_bytes()));
        for piece in [1, 2, 7, stream.len()] {
            assert_eq!(cut(stream.as_bytes(), piece, LIMITS), expected, "{piece} bytes a read");
        }
    }

    #[test]
    fn sip_004_a_stream_without_content_length_is_broken_with_what_to_answer() {
        let text = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n\r\n";
        let frames = cut(format!("{text}{}", message("")).as_bytes(), 1000, LIMITS);
        let [Frame::Broken { message, flaw }] = frames.as_slice() else { panic!("{frames:?}") };
        assert!(message.starts_with(text.as_bytes()));
        assert_eq!((*flaw, flaw.code()), (Flaw::NoContentLength, 400));
        assert_eq!(flaw_of("A sip:b SIP/2.0\r\nl: -1\r\n\r\n", LIMITS), Some(Flaw::ContentLength));
        assert_eq!(flaw_of("A sip:b SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n", LIMITS), Some(Flaw::ContentLength));
    }

    #[test]
    fn sip_004_header_block_and_body_are_bounded() {
        let limits = FrameLimits { header: 60, body: 5 };
        assert_eq!(flaw_of(&message("12345"), limits), None);
        assert_eq!(flaw_of(&message("123456"), limits).map(Flaw::code), Some(513));
        let long = format!("INFO sip:a@b SIP/2.0\r\nX-A: {}", "a".repeat(60));
        assert_eq!(flaw_of(&long, limits), Some(Flaw::TooLarge), "before its end is known");
        assert_eq!(flaw_of(&format!("{long}\r\nl: 0\r\n\r\n"), limits), Some(Flaw::TooLarge), "in one read");
        assert_eq!(
            flaw_of(&format!("A sip:b SIP/2.0\r\n{}l: 0\r\n\r\n", "a:b\r\n".repeat(600)), LIMITS),
            Some(Flaw::TooLarge)
        );
    }

    #[test]
    fn sip_005_two_line_ends_are_a_keepalive_and_one_is_nothing() {
        let text = message("");
        let whole = Frame::Message(text.clone().into_bytes());
        for piece in [1, 3, 1000] {
            let frames = cut(format!("\r\n\r\n{text}\r\n{text}\r\n\r\n\r\n\r\n").as_bytes(), piece, LIMITS);
            let alive = Frame::KeepAlive;
            assert_eq!(frames, [alive.clone(), whole.clone(), whole.clone(), alive.clone(), alive]);
        }
    }

    #[test]
    fn what_cannot_be_sip_is_known_by_its_first_byte() {
        for other in ["\u{16}\u{3}\u{1}", "\0\0\0\0", " INFO"] {
            assert_eq!(flaw_of(other, LIMITS), Some(Flaw::StartLine), "{other:?}");
        }
    }

    #[test]
    fn a_stream_that_was_given_up_brings_nothing_more() {
        let mut framer = Framer::new(LIMITS);
        framer.handle_bytes(b"\0");
        assert!(matches!(framer.poll_frame(), Some(Frame::Broken { .. })));
        framer.handle_bytes(message("").as_bytes());
        assert_eq!((framer.poll_frame(), framer.is_partial()), (None, false));
    }

    proptest! {
        #[test]
        fn sip_016_frames_do_not_depend_on_how_a_stream_is_read(
            parts in proptest::collection::vec("(\r\n){0,3}(INFO sip:a SIP/2\\.0\r?\n(l: [0-9]{1,2}\r?\n)?(a: b\r\n)?\r\n)?[a-z\r\n]{0,5}", 0..6),
            piece in 1_usize..40,
        ) {
            let stream = parts.concat();
            let limits = FrameLimits { header: 80, body: 40 };
            let (whole, pieces) = (cut(stream.as_bytes(), usize::MAX, limits), cut(stream.as_bytes(), piece, limits));
            // What is left of a broken stream depends on how far it was read; where it broke does not.
            let names = |frames: &[Frame]| frames.iter().map(|frame| match frame {
                Frame::Broken { flaw, .. } => Err(*flaw),
                Frame::Message(message) => Ok(message.clone()),
                Frame::KeepAlive => Ok(Vec::new()),
            }).collect::<Vec<_>>();
            prop_assert_eq!(names(&whole), names(&pieces));
        }

        #[test]
        fn sip_016_no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..9) {
            let limits = FrameLimits { header: 50, body: 9 };
            for frame in cut(&bytes, piece, limits) {
                if let Frame::Message(message) = frame {
                    prop_assert!(message.len() <= 59 && wire::parse(&message).is_ok_and(|parsed| parsed.flaw.is_none_or(|flaw| flaw != Flaw::ShortBody)) || wire::parse(&message).is_err());
                }
            }
        }
    }
}
