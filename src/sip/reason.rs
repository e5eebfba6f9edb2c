//! `Reason` (RFC 3326): why a BYE, a CANCEL or a final response was sent.

use std::fmt;

use super::syntax::{self, Params};

/// The protocol a cause belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasonProtocol {
    /// `Q.850`
    Q850,
    /// `SIP`
    Sip,
    /// Any other, as received.
    Other(String),
}

/// One Reason value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Protocol.
    pub protocol: ReasonProtocol,
    /// Cause number, where given and readable.
    pub cause: Option<u16>,
    /// Text, unquoted.
    pub text: Option<String>,
}

impl Reason {
    /// `Q.850;cause=…`
    #[must_use]
    pub const fn q850(cause: u16) -> Self {
        Self { protocol: ReasonProtocol::Q850, cause: Some(cause), text: None }
    }

    /// `SIP;cause=…`
    #[must_use]
    pub const fn sip(code: u16) -> Self {
        Self { protocol: ReasonProtocol::Sip, cause: Some(code), text: None }
    }

    /// The same with `;text="…"`.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        self.text = Some(text.to_owned());
        self
    }

    /// Every value in these header lines, in order; what cannot be read is skipped (SIP-110).
    pub fn parse_all<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        lines.into_iter().flat_map(syntax::list).filter_map(Self::parse).collect()
    }

    fn parse(value: &str) -> Option<Self> {
        let (protocol, params) = value.split_once(';').unwrap_or((value, ""));
        let protocol = match protocol.trim() {
            name if name.eq_ignore_ascii_case("Q.850") => ReasonProtocol::Q850,
            name if name.eq_ignore_ascii_case("SIP") => ReasonProtocol::Sip,
            name if syntax::is_token(name) => ReasonProtocol::Other(name.to_owned()),
            _ => return None,
        };
        let params = Params::parse(params).unwrap_or_default();
        let cause = params.value("cause").and_then(|cause| cause.parse().ok());
        Some(Self { protocol, cause, text: params.value("text").map(str::to_owned) })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.protocol {
            ReasonProtocol::Q850 => f.write_str("Q.850")?,
            ReasonProtocol::Sip => f.write_str("SIP")?,
            ReasonProtocol::Other(name) => f.write_str(name)?,
        }
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        match &self.text {
            Some(text) => write!(f, ";text=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_110_several_values_in_any_order_are_read() {
        let lines =
            ["SIP ;cause=200 ;text=\"Call completed, \\\"elsewhere\\\"\", q.850;cause=16", "X-Own;cause=abc", "<>"];
        let reasons = Reason::parse_all(lines);
        assert_eq!(
            reasons,
            [
                Reason::sip(200).text("Call completed, \"elsewhere\""),
                Reason::q850(16),
                Reason { protocol: ReasonProtocol::Other("X-Own".into()), cause: None, text: None },
            ]
        );
    }

    #[test]
    fn a_reason_is_written_as_the_wire_has_it() {
        let reason = Reason::sip(408).text("ACK timeout");
        assert_eq!(reason.to_string(), "SIP;cause=408;text=\"ACK timeout\"");
        assert_eq!(Reason::parse_all([reason.to_string().as_str()]), [reason]);
    }
}
