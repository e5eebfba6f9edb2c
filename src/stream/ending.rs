//! How a stream ends: what the bridge saw of the socket becomes a status and a culprit.

use serde::Serialize;

/// How the WebSocket ended, as the network layer saw it. A write error is none of these: what the bot sent is read to the
/// end first, and that end counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEnd {
    /// A close frame; `code` is `None` where it was empty (1005).
    Close {
        /// RFC 6455 section 7.4.
        code: Option<u16>,
        /// The bot's words.
        reason: String,
    },
    /// The TCP stream ended at a message boundary, with or without TLS `close_notify`, and no ping was outstanding.
    Eof,
    /// The TCP stream was reset at a message boundary and no ping was outstanding.
    Reset,
    /// The connection was lost in the middle of a frame or message.
    MidFrame,
    /// A TLS error, in words.
    Tls(String),
    /// Two pings were missed, or the connection was lost while one was outstanding.
    PingsMissed,
    /// A message was larger than 8 MiB.
    Oversize,
}

/// `Stream.Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It ran and ended in order.
    Completed,
    /// It could not be opened, or broke.
    Failed,
    /// The caller had gone before it started.
    Cancelled,
}

/// `Stream.DisconnectedBy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum DisconnectedBy {
    /// The bot.
    #[serde(rename = "bot")]
    Bot,
    /// The caller.
    #[serde(rename = "user")]
    User,
    /// Neither: a time limit, a command, no connection.
    #[serde(rename = "NA")]
    Na,
}

/// The end of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamEnd {
    /// How.
    pub status: Status,
    /// By whom.
    pub disconnected_by: DisconnectedBy,
    /// What was wrong, for `Stream.Error`; `None` unless failed.
    pub error: Option<String>,
    /// The code of the bot's close frame, 1005 for an empty one; the one of ours where the bot broke the protocol; `None`
    /// where there was none.
    pub code: Option<u16>,
}

impl StreamEnd {
    /// The bot's WebSocket could not be opened, for the reason `detail`.
    #[must_use]
    pub fn never_connected(detail: &str) -> Self {
        let error = format!("3009 failed to establish ws conn {detail}");
        Self {
            status: Status::Failed,
            disconnected_by: DisconnectedBy::Na,
            error: Some(error.trim_end().into()),
            code: None,
        }
    }

    /// The caller hung up.
    #[must_use]
    pub fn caller() -> Self {
        Self { status: Status::Completed, disconnected_by: DisconnectedBy::User, error: None, code: None }
    }

    /// A time limit or a command ended it; the call goes on.
    #[must_use]
    pub fn stopped() -> Self {
        Self { status: Status::Completed, disconnected_by: DisconnectedBy::Na, error: None, code: None }
    }

    /// The caller hung up before the stream started.
    #[must_use]
    pub fn cancelled() -> Self {
        Self { status: Status::Cancelled, disconnected_by: DisconnectedBy::User, error: None, code: None }
    }

    fn bot() -> Self {
        Self { status: Status::Completed, disconnected_by: DisconnectedBy::Bot, error: None, code: None }
    }

    fn bot_failed(error: impl Into<String>) -> Self {
        Self { status: Status::Failed, error: Some(error.into()), ..Self::bot() }
    }
}

impl From<SocketEnd> for StreamEnd {
    /// The verdict. Close codes that RFC 6455 gives no normal meaning, those of applications (3000 to 4999) included, are
    /// failures: the bot says that something was wrong.
    fn from(end: SocketEnd) -> Self {
        match end {
            SocketEnd::Close { code, reason } => {
                let code = code.unwrap_or(1005);
                let end = match code {
                    1000 | 1001 | 1005 | 1012 | 1013 => Self::bot(),
                    _ => Self::bot_failed(format!("{code} {reason}").trim_end()),
                };
                Self { code: Some(code), ..end }
            }
            SocketEnd::Eof | SocketEnd::Reset => Self::bot(),
            SocketEnd::MidFrame => Self::bot_failed("connection lost in the middle of a message"),
            SocketEnd::Tls(error) => Self::bot_failed(format!("TLS error: {error}")),
            SocketEnd::PingsMissed => Self::bot_failed("pings not answered"),
            SocketEnd::Oversize => Self { code: Some(1009), ..Self::bot_failed("1009 message larger than 8 MiB") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(code: impl Into<Option<u16>>, reason: &str) -> StreamEnd {
        SocketEnd::Close { code: code.into(), reason: reason.into() }.into()
    }

    #[test]
    fn a_normal_close_and_an_end_at_a_message_boundary_are_completed_by_the_bot() {
        for end in
            [close(1000, "bye"), close(1001, ""), close(None, ""), close(1005, ""), close(1012, ""), close(1013, "")]
        {
            assert_eq!((end.status, end.disconnected_by, end.error), (Status::Completed, DisconnectedBy::Bot, None));
        }
        for end in [SocketEnd::Eof, SocketEnd::Reset] {
            assert_eq!(StreamEnd::from(end), StreamEnd::bot());
        }
        assert_eq!(close(None, "").code, Some(1005));
    }

    #[test]
    fn every_other_end_is_failed_by_the_bot_and_says_why() {
        for code in [1002, 1003, 1007, 1008, 1009, 1011, 4000] {
            let end = close(code, "why");
            assert_eq!((end.status, end.disconnected_by), (Status::Failed, DisconnectedBy::Bot));
            assert_eq!((end.error, end.code), (Some(format!("{code} why")), Some(code)));
        }
        assert_eq!(close(1011, "").error.as_deref(), Some("1011"));
        assert_eq!(StreamEnd::from(SocketEnd::Oversize).code, Some(1009));
        for end in [SocketEnd::MidFrame, SocketEnd::Tls("bad record".into()), SocketEnd::PingsMissed] {
            let end = StreamEnd::from(end);
            assert_eq!((end.status, end.disconnected_by, end.code), (Status::Failed, DisconnectedBy::Bot, None));
            assert!(end.error.is_some());
        }
    }

    #[test]
    fn a_stream_that_never_opened_is_failed_3009() {
        let end = StreamEnd::never_connected("connection refused");
        assert_eq!(end.error.as_deref(), Some("3009 failed to establish ws conn connection refused"));
        assert_eq!((end.status, end.disconnected_by), (Status::Failed, DisconnectedBy::Na));
    }

    #[test]
    fn the_words_on_the_wire_are_the_documented_ones() {
        let json = serde_json::to_string(&StreamEnd::stopped()).expect("plain data");
        assert_eq!(json, r#"{"status":"completed","disconnected_by":"NA","error":null,"code":null}"#);
    }
}
