//! A call record in one line, for people (the JSON has the rest).

use std::fmt::{self, Display, Formatter};

use crate::call::timeline::{CallRecord, StreamRecord};

/// Shows a record in one line: how long, how it ended, codec, packets, loss, jitter, bots.
pub struct Summary<'a>(pub &'a CallRecord);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CallRecord { end, media, .. } = self.0;
        match self.0.answered_after_ms {
            Some(after) => write!(f, "answered after {after} ms, {} of talk", seconds(self.0.talk_ms))?,
            None => write!(f, "not answered, {} in all", seconds(self.0.duration_ms))?,
        }
        write!(f, ", ended by {} ({}", if end.by.is_empty() { "nobody" } else { end.by }, end.why)?;
        end.sip_code.map_or(Ok(()), |code| write!(f, ", SIP {code}"))?;
        end.q850.map_or(Ok(()), |cause| write!(f, ", Q.850 {cause}"))?;
        write!(f, "); {}", media.codec.unwrap_or("no codec"))?;
        write!(f, ", RTP received {} lost {} late {}", media.packets_received, media.lost, media.late)?;
        write!(f, ", jitter {:.1} ms at most {:.1} ms", media.jitter_mean_ms, media.jitter_max_ms)?;
        write!(f, ", sent {}", media.packets_sent)?;
        if let Some(peer) = &media.peer {
            write!(f, ", {} of them lost at the peer", peer.lost)?;
        }
        self.0.streams.iter().try_for_each(|stream| bot(f, stream))?;
        if self.0.streams.is_empty() {
            write!(f, "; no bot")?;
        }
        let tried = self.0.transfers.iter();
        tried
            .into_iter()
            .try_for_each(|transfer| write!(f, "; {} to {} {}", transfer.mode, transfer.to, transfer.outcome))
    }
}

fn bot(f: &mut Formatter<'_>, stream: &StreamRecord) -> fmt::Result {
    write!(f, "; bot {} {}, ended by {}", stream.stream_url, stream.status, stream.disconnected_by)?;
    stream.error.iter().try_for_each(|error| write!(f, ": {error}"))?;
    if let Some(figures) = &stream.figures {
        write!(f, ", {} s, played {} ms, underruns {}", stream.duration, figures.played_ms, figures.underruns)?;
    }
    match stream.turns.as_ref().and_then(|turns| Some((turns.count, turns.response_ms.as_ref()?))) {
        Some((count, response)) => {
            write!(f, ", turns {count}, answered after {} ms (p95 {})", response.p50, response.p95)
        }
        None => Ok(()),
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::timeline::CallEnd;
    use crate::media::MediaReport;
    use crate::stream::StreamReport;

    fn record() -> CallRecord {
        let stream = StreamRecord {
            step: "talk".into(),
            stream_sid: "s".into(),
            stream_url: "ws://bot/media".into(),
            status: "completed",
            disconnected_by: "user",
            error: None,
            detailed_status: None,
            disposition: None,
            close_code: None,
            duration: "83".into(),
            connect_ms: Some(12),
            turns: None,
            figures: Some(StreamReport { played_ms: 40_000, underruns: 2, ..StreamReport::default() }),
        };
        CallRecord {
            call_sid: "c".into(),
            call_id: "i".into(),
            replaced_by: vec![],
            trunk: "pbx".into(),
            account: "acc1".into(),
            from: "x".into(),
            to: "x".into(),
            diverted: vec![],
            direction: "incoming",
            flow: "bot".into(),
            began_unix: 0.0,
            ringing_after_ms: Some(1),
            answered_after_ms: Some(812),
            talk_ms: 83_250,
            duration_ms: 84_062,
            end: CallEnd { by: "caller", sip_code: None, q850: Some(16), reasons: vec![], why: "caller_hangup" },
            headers_omitted: vec![],
            streams: vec![stream],
            transfers: vec![],
            media: MediaReport {
                codec: Some("PCMU"),
                packets_received: 4150,
                lost: 3,
                packets_sent: 4160,
                jitter_mean_ms: 1.21,
                jitter_max_ms: 9.5,
                ..MediaReport::default()
            },
            stalled_ms: 0,
            send_late_max_ms: 0.0,
            send_late_p99_ms: 0.0,
        }
    }

    #[test]
    fn rtp_044_a_record_is_one_readable_line() {
        assert_eq!(
            Summary(&record()).to_string(),
            "answered after 812 ms, 83.2 s of talk, ended by caller (caller_hangup, Q.850 16); PCMU, RTP received 4150 \
             lost 3 late 0, jitter 1.2 ms at most 9.5 ms, sent 4160; bot ws://bot/media completed, ended by user, 83 s, \
             played 40000 ms, underruns 2"
        );
    }

    #[test]
    fn a_call_that_never_was_answered_says_so() {
        let end =
            CallEnd { by: "bridge", sip_code: Some(502), q850: Some(38), reasons: vec![], why: "bot_unreachable" };
        let mut record = CallRecord { answered_after_ms: None, end, media: MediaReport::default(), ..record() };
        record.streams[0] = StreamRecord {
            status: "failed",
            error: Some("3009 refused".into()),
            figures: None,
            ..record.streams[0].clone()
        };
        let text = Summary(&record).to_string();
        assert!(text.starts_with(
            "not answered, 84.0 s in all, ended by bridge (bot_unreachable, SIP 502, Q.850 38); no codec"
        ));
        assert!(text.ends_with("; bot ws://bot/media failed, ended by user: 3009 refused"), "{text}");
    }
}
