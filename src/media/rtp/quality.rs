//! How a call sounds, estimated: the E-model (ITU-T G.107), reduced to what a receiver of RTP knows.
//!
//! `R = 93.2 − Id − Ie,eff`: everything but delay, codec and loss at its default. Loss counts after the jitter buffer, so
//! late and discarded packets are in it; loss in bursts weighs more than the same loss spread.

use std::time::{Duration, Instant};

/// One window of the record.
const WINDOW: Duration = Duration::from_secs(5);
/// R of a connection without delay, loss and codec (G.107, all parameters at their defaults).
const R_MAX: f64 = 93.2;

/// Packet-loss robustness Bpl of a codec with concealment, by encoding name. G.711's is that of G.113, Appendix I, where Ie
/// is 0. There is nothing for the others on the narrow-band scale: they too are taken as clean, their robustness from what
/// their concealment is known to do, and their wider band earns nothing.
fn robustness(encoding_name: &str) -> f64 {
    match encoding_name {
        "opus" => 20.0,
        "G722" => 13.0,
        _ => 25.1,
    }
}

/// What was received so far, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Received {
    /// Came, whatever became of them.
    pub packets: u64,
    /// Never came.
    pub lost: u64,
    /// Came and were not played: too late, or too many at once.
    pub unplayed: u64,
    /// How often numbers were missing.
    pub gaps: u64,
}

impl Received {
    fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            // A packet that comes late is lost until then.
            lost: self.lost.saturating_sub(before.lost),
            unplayed: self.unplayed.saturating_sub(before.unplayed),
            gaps: self.gaps.saturating_sub(before.gaps),
        }
    }

    /// Share that was not played, in percent.
    fn loss_percent(self) -> f64 {
        let expected = self.packets + self.lost;
        let missing = (self.lost + self.unplayed).min(expected);
        if expected == 0 { 0.0 } else { missing as f64 * 100.0 / expected as f64 }
    }

    /// Mean length of the gaps over that of the same loss at random (G.107, 3.5); at least 1.
    fn burst_ratio(self) -> f64 {
        let mean = if self.gaps == 0 { 1.0 } else { self.lost as f64 / self.gaps as f64 };
        (mean * (1.0 - self.loss_percent() / 100.0)).max(1.0)
    }
}

/// Codec and delay of what was received.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// Encoding name of the codec.
    pub encoding_name: &'static str,
    /// From mouth to ear: network, packet, buffer.
    pub delay: Duration,
}

/// R of `received` over `path`.
fn rating(received: Received, path: Path) -> f64 {
    let loss = received.loss_percent();
    let ie_eff = 95.0 * loss / (loss / received.burst_ratio() + robustness(path.encoding_name));
    (R_MAX - delay_impairment(path.delay) - ie_eff).clamp(0.0, 100.0)
}

/// Id by its usual two straight lines: delay over 177.3 ms hampers talking in turns.
fn delay_impairment(delay: Duration) -> f64 {
    let ms = delay.as_secs_f64() * 1000.0;
    0.024 * ms + 0.11 * (ms - 177.3).max(0.0)
}

/// Mean opinion score of R (G.107, Annex B).
fn mos(r: f64) -> f64 {
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// Estimates of one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of the whole call, 0 to 100.
    pub r_factor: f64,
    /// Of the whole call, 1 to 4.5.
    pub mos: f64,
    /// The worst window's.
    pub mos_min: f64,
    /// Mean of the windows'.
    pub mos_mean: f64,
    /// Share of the caller's packets that was not played, in percent.
    pub loss_percent: f64,
}

/// Watches the windows of a call.
#[derive(Debug, Default)]
pub struct Quality {
    due: Option<Instant>,
    before: Received,
    min: Option<f64>,
    sum: f64,
    windows: u32,
}

impl Quality {
    /// The first window begins, unless one has.
    pub fn start(&mut self, now: Instant) {
        self.due.get_or_insert(now + WINDOW);
    }

    /// Whether a window has ended.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// Ends the window. One in which nothing was expected, on hold or in silence, says nothing.
    pub fn observe(&mut self, now: Instant, received: Received, path: Path) {
        let window = received.since(self.before);
        self.before = received;
        self.due = Some(now + WINDOW);
        if window.packets + window.lost > 0 {
            let mos = mos(rating(window, path));
            self.min = Some(self.min.map_or(mos, |min| min.min(mos)));
            self.sum += mos;
            self.windows += 1;
        }
    }

    /// The call so far; `None` where nothing was received.
    #[must_use]
    pub fn estimate(&self, received: Received, path: Path) -> Option<Estimate> {
        if received.packets == 0 {
            return None;
        }
        let r_factor = rating(received, path);
        let mos = mos(r_factor);
        let mos_mean = if self.windows == 0 { mos } else { self.sum / f64::from(self.windows) };
        let mos_min = self.min.unwrap_or(mos);
        Some(Estimate { r_factor, mos, mos_min, mos_mean, loss_percent: received.loss_percent() })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIRECT: Path = Path { encoding_name: "PCMU", delay: Duration::ZERO };

    fn received(packets: u64, lost: u64, gaps: u64) -> Received {
        Received { packets, lost, unplayed: 0, gaps }
    }

    #[test]
    fn g_107_a_clean_g711_call_is_93_2_and_4_41() {
        let r = rating(received(250, 0, 0), DIRECT);
        assert!((r - 93.2).abs() < 1e-9 && (mos(r) - 4.41).abs() < 0.01, "{r} {}", mos(r));
    }

    #[test]
    fn g_107_annex_b_the_curve_of_mos_has_its_known_points() {
        for (r, expected) in
            [(0.0, 1.0), (50.0, 2.58), (60.0, 3.1), (70.0, 3.6), (80.0, 4.02), (90.0, 4.34), (100.0, 4.5)]
        {
            assert!((mos(r) - expected).abs() < 0.02, "{r}: {}", mos(r));
        }
    }

    #[test]
    fn g_113_five_percent_at_random_costs_16_points_and_in_bursts_more() {
        let spread = rating(received(95, 5, 5), DIRECT);
        assert!((spread - (93.2 - 95.0 * 5.0 / 30.1)).abs() < 1e-9, "{spread}");
        let bursts = rating(received(95, 5, 1), DIRECT);
        assert!(bursts < spread - 1.5, "{bursts} {spread}");
    }

    #[test]
    fn late_and_discarded_packets_count_as_lost() {
        let late = Received { packets: 100, lost: 0, unplayed: 5, gaps: 0 };
        assert_eq!(rating(late, DIRECT), rating(received(95, 5, 5), DIRECT));
    }

    #[test]
    fn g_107_delay_bends_at_177_ms() {
        let of = |ms| delay_impairment(Duration::from_millis(ms));
        assert!((of(100) - 2.4).abs() < 1e-9 && (of(177) - 4.248).abs() < 1e-9);
        assert!((of(400) - (9.6 + 0.11 * 222.7)).abs() < 1e-9);
    }

    #[test]
    fn a_bad_window_shows_in_the_minimum_and_a_silent_one_nowhere() {
        let start = Instant::now();
        let mut quality = Quality::default();
        assert!(!quality.is_due(start + Duration::from_secs(60)), "not before it is started");
        quality.start(start);
        let mut now = start;
        for (packets, lost) in [(250, 0), (450, 50), (450, 50), (700, 50)] {
            assert!(!quality.is_due(now + Duration::from_millis(4999)));
            now += WINDOW;
            assert!(quality.is_due(now));
            quality.observe(now, received(packets, lost, lost), DIRECT);
        }
        let call = quality.estimate(received(700, 50, 50), DIRECT).expect("an estimate");
        assert_eq!(quality.windows, 3);
        let bad = mos(rating(received(200, 50, 50), DIRECT));
        assert!((call.mos_min - bad).abs() < 1e-9 && call.mos > bad && call.mos < 4.4, "{call:?}");
        assert!((call.mos_mean - (2.0 * mos(93.2) + bad) / 3.0).abs() < 1e-9, "{call:?}");
        assert_eq!(Quality::default().estimate(Received::default(), DIRECT), None);
    }

    proptest! {
        #[test]
        fn no_figures_leave_the_scale(
            packets in 0_u64..100_000, lost in 0_u64..100_000, unplayed in 0_u64..100_000, gaps in 0_u64..100_000, ms in 0_u64..5000,
        ) {
            let path = Path { encoding_name: "opus", delay: Duration::from_millis(ms) };
            let r = rating(Received { packets, lost, unplayed, gaps }, path);
            prop_assert!((0.0..=100.0).contains(&r));
            prop_assert!((1.0..=4.5).contains(&mos(r)));
            let better = rating(Received { packets: packets + 1000, lost, unplayed, gaps }, path);
            prop_assert!(gaps > 0 || better >= r - 1e-9);
        }
    }
}
