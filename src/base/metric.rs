//! Every metric, one line each: name, kind, help. The home of the `metrics` crate.

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in the unit of the name.
    Histogram,
}

/// One metric: its Prometheus name, kind and help text.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Prometheus name, unit included.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// The help text, labels named.
    pub help: &'static str,
}

macro_rules! metrics_list {
    ($($id:ident $kind:ident $name:literal $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric { name: $name, kind: Kind::$kind, help: $help };)*
        /// All metrics, in the order of the exported page.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics_list! {
    CALLS_ACTIVE Gauge "trunkstream_calls_active" "Calls up now, from INVITE to the end of the dialog.";
    CALLS Counter "trunkstream_calls_total" "Calls ended, by trunk, account, outcome and why.";
    CALLS_REFUSED Counter "trunkstream_calls_refused_total" "INVITEs refused, by reason, SIP code and trunk.";
    CALL_PANICS Counter "trunkstream_call_panics_total" "Calls ended by a fault of the bridge; each is logged with its place.";
    TRANSFERS Counter "trunkstream_transfers_total" "Callers handed to somebody else by a connect step, by mode (refer, redirect) and outcome.";
    SIP_RECEIVED Counter "sip_messages_received_total" "SIP messages received, by method or status class.";
    SIP_SENT Counter "sip_messages_sent_total" "SIP messages sent, by method or status code.";
    SIP_RETRANSMISSIONS Counter "sip_retransmissions_total" "SIP messages sent again by a timer or a repeated request.";
    SIP_TRANSACTION_TIMEOUTS Counter "sip_transaction_timeouts_total" "SIP transactions that ended without the peer's answer.";
    SIP_REJECTED Counter "sip_source_rejects_total" "SIP datagrams from sources without a trunk, by what was done.";
    SIP_SOURCES Gauge "sip_sources" "Sources that are counted for their limits, by kind (stranger, trunk) and state (all, at_limit).";
    SIP_QUEUE_DROPS Counter "sip_queue_drops_total" "SIP datagrams dropped because too many waited, by queue (calls, other).";
    LIMITS Gauge "trunkstream_limit" "Limits as configured, by limit (its key), of the node, a trunk or an account; 0 is none.";
    SIP_MALFORMED Counter "sip_malformed_total" "SIP datagrams that could not be read, by reason.";
    SIP_TRANSACTIONS Gauge "sip_transactions" "SIP transactions alive, by kind.";
    SIP_DIALOGS Gauge "sip_dialogs" "SIP dialogs alive.";
    SIP_OVERSIZE Counter "sip_oversize_udp_total" "Own SIP requests over 1300 bytes sent by UDP.";
    TRUNK_UP Gauge "trunk_up" "Whether a destination of a trunk answers OPTIONS: 1 or 0, NaN where that is not known, by trunk.";
    TRUNK_REGISTERED Gauge "trunk_registered" "Whether we are registered at a trunk's PBX: 1 or 0, NaN where we do not register, by trunk.";
    SIP_CONNECTIONS Gauge "sip_connections" "TCP and TLS connections of SIP that are open.";
    SIP_CONNECTIONS_CLOSED Counter "sip_connections_closed_total" "TCP and TLS connections of SIP that ended or were never up, by reason.";
    RTP_RECEIVED Counter "rtp_packets_received_total" "RTP packets received from accepted sources.";
    RTP_SENT Counter "rtp_packets_sent_total" "RTP packets sent.";
    RTP_LOST Counter "rtp_packets_lost_total" "RTP packets that never came, at call end.";
    RTP_LATE Counter "rtp_packets_late_total" "RTP packets that came after their time, at call end.";
    RTP_DUPLICATE Counter "rtp_packets_duplicate_total" "RTP packets that came twice, at call end.";
    RTP_DISCARDED Counter "rtp_packets_discarded_total" "RTP packets dropped unread, by reason, at call end.";
    RTP_SOURCE_REJECTS Counter "rtp_source_rejects_total" "RTP packets from sources that may not speak in the call, at call end.";
    RTP_SSRC_CHANGES Counter "rtp_ssrc_changes_total" "Changes of the RTP sender's SSRC, at call end.";
    RTP_CONCEALED Counter "rtp_concealed_milliseconds_total" "Milliseconds of caller audio filled for lost packets, at call end.";
    RTP_PORTS_IN_USE Gauge "rtp_port_pairs_in_use" "RTP port pairs bound to calls.";
    RTP_KERNEL_DROPS Counter "trunkstream_rtp_kernel_drops_total" "Datagrams to RTP and RTCP ports that the kernel dropped: a receive buffer was full or a checksum wrong.";
    RTP_JITTER Histogram "rtp_jitter_milliseconds" "Interarrival jitter of the caller's RTP, mean of a call.";
    SRTP_REJECTED Counter "srtp_packets_rejected_total" "SRTP and SRTCP packets that were not let through, by reason, at call end.";
    RTCP_RECEIVED Counter "rtcp_packets_received_total" "RTCP packets received and read, at call end.";
    RTCP_MALFORMED Counter "rtcp_malformed_total" "RTCP packets received that could not be read, at call end.";
    RTP_LOSS Histogram "rtp_loss_percent" "Share of the caller's RTP that was lost, late or discarded in a call.";
    RTP_MOS Histogram "rtp_mos" "How the caller sounds to the bot, by the E-model (ITU-T G.107) of a call: 1 is bad, 4.4 the best of G.711.";
    RTP_MOS_MIN Histogram "rtp_worst_mos" "The same of the worst 5 s of a call.";
    RTP_PEER_LOSS Histogram "rtp_peer_loss_percent" "Share of our RTP that the caller's side missed, by its last RTCP report of a call.";
    RTP_PEER_JITTER Histogram "rtp_peer_jitter_milliseconds" "Jitter of our RTP at the caller's side, by its last RTCP report of a call.";
    RTP_ROUND_TRIP Histogram "rtp_round_trip_milliseconds" "Round trip between us and the caller's side, by its last RTCP report of a call.";
    MEDIA_TICK_LATE Histogram "media_tick_late_milliseconds" "How late the media clock woke.";
    MEDIA_STALLED Counter "media_stalled_milliseconds_total" "Milliseconds skipped because the bridge's own process stood still.";
    STREAMS_ACTIVE Gauge "stream_active" "WebSocket streams open now, by account.";
    STREAMS Counter "stream_ended_total" "Streams ended, by status and by whom.";
    STREAM_CONNECT Histogram "stream_connect_milliseconds" "Time from the first dial to the upgrade of a bot's WebSocket.";
    STREAM_CONNECT_FAILURES Counter "stream_connect_failures_total" "Failed attempts at a bot's WebSocket, by class.";
    STREAM_TOLERATED Counter "stream_tolerated_total" "Oddities of bots that were put up with, by what.";
    TURN_RESPONSE Histogram "trunkstream_turn_response_seconds" "End of the caller's speech to the bot's first audible RTP, by flow, step, bot_host and part: whole, uplink, bot, playout.";
    BARGE_IN Histogram "trunkstream_barge_in_seconds" "Until the last audible RTP of a bot that is interrupted, by flow, step, bot_host and from: the caller's first speech, or the bot's clear.";
    STREAM_WRONG_RATE Counter "stream_wrong_rate_total" "Streams whose bot speaks at another sample rate than the stream's, by bot_host, rate and sounds (higher, lower).";
    STREAM_UNDERRUNS Counter "stream_underruns_total" "Times a bot's audio ran dry in mid-speech.";
    STREAM_QUEUE Histogram "stream_queue_max_milliseconds" "Most bot audio queued in a stream.";
    STREAM_DROPPED Counter "stream_dropped_messages_total" "Messages of bots dropped, by reason.";
    TRACE_DROPPED Counter "trunkstream_trace_dropped_total" "Packets that a trace lost, by where: shard, reader (once a trace), hep.";
    RESIDENT_MEMORY Gauge "process_resident_memory_bytes" "Memory of the process that is in RAM.";
    HEADERS_OMITTED Counter "header_omitted_total" "Headers that did not become custom parameters, by reason.";
    DTMF Counter "dtmf_digits_total" "Digits received, by source (rtp, info, inband).";
}

/// Registers every metric's help text with the installed recorder.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

impl Metric {
    /// Makes the series of these labels exist, at zero.
    pub fn register(&self, labels: &[(&'static str, String)]) {
        match self.kind {
            Kind::Counter => metrics::counter!(self.name, labels).increment(0),
            Kind::Gauge => metrics::gauge!(self.name, labels).increment(0.0),
            Kind::Histogram => drop(metrics::histogram!(self.name, labels)),
        }
    }

    /// Adds `by` to a counter without labels.
    pub fn add(&self, by: u64) {
        debug_assert_eq!(self.kind, Kind::Counter);
        if by > 0 {
            metrics::counter!(self.name).increment(by);
        }
    }

    /// Adds `by` to a counter under `labels`.
    pub fn add_with(&self, by: u64, labels: &[(&'static str, String)]) {
        debug_assert_eq!(self.kind, Kind::Counter);
        if by > 0 {
            metrics::counter!(self.name, labels).increment(by);
        }
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64) {
        debug_assert_eq!(self.kind, Kind::Gauge);
        metrics::gauge!(self.name).set(value);
    }

    /// Sets a gauge under `labels`.
    pub fn set_with(&self, value: f64, labels: &[(&'static str, String)]) {
        debug_assert_eq!(self.kind, Kind::Gauge);
        metrics::gauge!(self.name, labels).set(value);
    }

    /// Records a value of a histogram.
    pub fn record(&self, value: f64) {
        debug_assert_eq!(self.kind, Kind::Histogram);
        metrics::histogram!(self.name).record(value);
    }

    /// The histogram itself, for whoever records often: it is looked up once.
    pub fn histogram(&self) -> metrics::Histogram {
        debug_assert_eq!(self.kind, Kind::Histogram);
        metrics::histogram!(self.name)
    }

    /// Records a value of a histogram under `labels`.
    pub fn record_with(&self, value: f64, labels: &[(&'static str, String)]) {
        debug_assert_eq!(self.kind, Kind::Histogram);
        metrics::histogram!(self.name, labels).record(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique_and_every_counter_says_total() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
