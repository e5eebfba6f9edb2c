//! Watches the bytes that come from a bot and knows whether a WebSocket message is under way (RFC 6455 §5.2): a stream
//! that ends between messages is a bot that returned, one that ends inside a frame is a bot that was lost.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Follows frame headers through a byte stream.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 10],
    have: usize,
    payload: u64,
    message_open: bool,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let step = bytes.len().min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                self.payload -= step as u64;
                bytes = &bytes[step..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.wanted() {
                self.header_complete();
            }
        }
    }

    /// Octets of the header: two, and the extended length.
    fn wanted(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        match self.header[1] & 0x7F {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn header_complete(&mut self) {
        let header = self.header;
        let length = match header[1] & 0x7F {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => u64::from_be_bytes(header[2..10].try_into().expect("eight octets")),
            short => u64::from(short),
        };
        let masked = if header[1] & 0x80 != 0 { 4 } else { 0 };
        let is_control = header[0] & 0x08 != 0;
        if !is_control {
            self.message_open = header[0] & 0x80 == 0;
        }
        self.payload = length.saturating_add(masked);
        self.have = 0;
    }

    fn at_boundary(&self) -> bool {
        self.have == 0 && self.payload == 0 && !self.message_open
    }
}

/// The blank line that ends the answer to the upgrade.
const END_OF_UPGRADE: &[u8; 4] = b"\r\n\r\n";

/// A transport that notes where message boundaries are.
#[derive(Debug)]
pub struct Watched<S> {
    inner: S,
    /// How much of [`END_OF_UPGRADE`] has been seen.
    upgrade: usize,
    frames: Frames,
}

impl<S> Watched<S> {
    /// Wraps `inner`, whose first bytes are the answer to the upgrade.
    pub fn new(inner: S) -> Self {
        Self { inner, upgrade: 0, frames: Frames::default() }
    }

    /// Whether what has come so far ends with a whole message.
    pub fn at_boundary(&self) -> bool {
        self.frames.at_boundary()
    }

    fn note(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first()
            && self.upgrade < END_OF_UPGRADE.len()
        {
            let matches = |position: usize| *byte == END_OF_UPGRADE[position];
            self.upgrade = if matches(self.upgrade) { self.upgrade + 1 } else { usize::from(matches(0)) };
            bytes = rest;
        }
        self.frames.feed(bytes);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.note(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundaries(bytes: &[u8]) -> Vec<bool> {
        let mut frames = Frames::default();
        bytes
            .iter()
            .map(|byte| {
                frames.feed(&[*byte]);
                frames.at_boundary()
            })
            .collect()
    }

    #[test]
    fn a_boundary_is_where_a_whole_message_has_come() {
        assert_eq!(boundaries(&[0x81, 0x02, b'h', b'i']), [false, false, false, true]);
        assert_eq!(boundaries(&[0x88, 0x00]), [false, true]);
        assert_eq!(boundaries(&[0x81, 0x81, 1, 2, 3, 4, b'x']), [false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_fragmented_message_is_open_until_its_last_frame_and_pings_between_do_not_close_it() {
        assert_eq!(boundaries(&[0x01, 0x01, b'a', 0x89, 0x00, 0x80, 0x01, b'b']).last(), Some(&true));
        assert_eq!(boundaries(&[0x01, 0x01, b'a', 0x89, 0x00]), [false; 5]);
    }

    #[test]
    fn extended_lengths_are_counted() {
        let mut long = vec![0x82, 126, 0x01, 0x00];
        long.extend([0; 256]);
        let seen = boundaries(&long);
        assert_eq!(seen.iter().position(|at| *at), Some(259));
        let mut longer = vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        longer.extend(vec![0; 65_536]);
        assert_eq!(boundaries(&longer).iter().position(|at| *at), Some(65_545));
    }
}
