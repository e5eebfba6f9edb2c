//! What callers hear of bots that send in bursts, late, too slowly, in odd pieces; and what the bridge adds. The harness is
//! that of `make quality`, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

#[path = "../benches/quality/bots.rs"]
mod bots;
#[path = "../benches/quality/delay.rs"]
mod delay;
#[path = "../benches/quality/line.rs"]
mod line;

use bots::{PATTERNS, Pattern, worst};

/// The bot's speech.
const SPEECH_MS: f64 = 20_000.0;

#[test]
fn rtp_071_no_bot_s_audio_loses_a_sample_or_gets_a_click_at_the_border_of_messages() {
    for pattern in PATTERNS {
        let outcome = worst(pattern);
        assert_eq!((outcome.clicks, outcome.lost), (0, 0), "{outcome:?}");
    }
}

#[test]
fn rtp_073_real_time_and_bursts_are_heard_without_a_gap() {
    for pattern in [Pattern::RealTime, Pattern::Burst] {
        let outcome = worst(pattern);
        assert_eq!((outcome.underruns, outcome.gaps), (0, 0), "{outcome:?}");
    }
    assert!(worst(Pattern::Burst).queue_max_ms >= 20_000);
}

#[test]
fn rtp_073_120_ms_of_jitter_make_at_most_four_gaps_and_messages_of_2200_bytes_at_most_two() {
    for (pattern, most) in [(Pattern::Jittered, 4), (Pattern::Bytes2200, 2), (Pattern::OddSizes, 4)] {
        let outcome = worst(pattern);
        assert!(outcome.underruns <= most, "{outcome:?}");
        assert_eq!(outcome.underruns, outcome.gaps as u64, "every gap is an underrun, and nothing else is");
    }
}

#[test]
fn rtp_073_a_bot_a_tenth_too_slow_gets_few_long_gaps_and_no_more_silence_than_it_left() {
    let outcome = worst(Pattern::NineTenths);
    let missing = SPEECH_MS / 0.9 - SPEECH_MS;
    assert!(outcome.gap_ms <= missing + 100.0, "{outcome:?}");
    assert!(outcome.underruns <= 20, "{outcome:?}");
    assert_eq!(outcome.underruns, outcome.gaps as u64);
}

#[test]
fn a_bot_is_heard_within_its_threshold_and_a_packet() {
    for (message_ms, most) in [(20, 80.0), (40, 80.0), (100, 20.0)] {
        let added = delay::to_caller(message_ms);
        assert!(added.count == 2000 && added.max <= most, "{added:?}");
    }
}

#[test]
fn rtp_025_a_caller_is_heard_within_the_buffer_a_frame_and_a_tick_of_the_clock() {
    for chunk_ms in [20, 100] {
        let added = delay::to_bot(chunk_ms, 0);
        assert!(added.count > 9000 && added.p50 <= added.p99 && added.p99 <= 65.0, "{added:?}");
    }
}
