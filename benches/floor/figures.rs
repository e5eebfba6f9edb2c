//! What runs came to, in a table, and what is made of it.

use std::ops::RangeInclusive;

/// What one run came to.
#[derive(Clone)]
pub struct Figures {
    pub name: String,
    pub calls: u32,
    pub cpu_us_per_call_second: f64,
    /// The busiest media thread's part of it.
    pub busiest_us_per_call_second: f64,
    pub kib_per_call: f64,
    /// |interval - 20 ms| in ms at 50, 99 and 99.9 %.
    pub interval_error: [f64; 3],
    pub rtp_per_call_second: f64,
    /// RTP back for each packet sent.
    pub share: f64,
    pub media_per_call_second: f64,
    /// Voluntary context switches a second, for each core the system has.
    pub switches_per_core_second: f64,
    /// INVITE to 200 in ms at 50 and 99 %; NaN where there is no signalling.
    pub setup_ms: [f64; 2],
    /// Caller to bot and back in ms at 50 and 95 %; NaN where nothing comes back.
    pub echo_ms: [f64; 2],
    pub bot_faults: u64,
    pub lost_calls: usize,
    pub is_realtime: bool,
}

impl Figures {
    /// p99 of |interval - 20 ms|, ms.
    pub fn p99(&self) -> f64 {
        self.interval_error[1]
    }

    /// The table's head.
    pub fn print_head() {
        println!(
            "\n{:<19}{:>6}{:>13}{:>10}{:>28}{:>10}{:>8}{:>11}{:>10}{:>9}",
            "",
            "calls",
            "CPU us per",
            "RSS KiB",
            "RTP interval error, ms",
            "RTP back",
            "media",
            "switches",
            "INVITE",
            "echo"
        );
        println!(
            "{:<19}{:>6}{:>13}{:>10}{:>10}{:>9}{:>9}{:>10}{:>8}{:>11}{:>10}{:>9}",
            "",
            "",
            "call-second",
            "per call",
            "p50",
            "p99",
            "p99.9",
            "per s",
            "per s",
            "per s core",
            "p99 ms",
            "p50 ms"
        );
    }

    /// One line of it.
    pub fn print(&self) {
        let Self { name, calls, cpu_us_per_call_second: cpu, kib_per_call: memory, .. } = self;
        let (rtp, media, switches) =
            (self.rtp_per_call_second, self.media_per_call_second, self.switches_per_core_second);
        let [p50, p99, p999] = self.interval_error;
        let [setup, echo] = [self.setup_ms[1], self.echo_ms[0]].map(shown);
        println!(
            "{name:<19}{calls:>6}{cpu:>13.0}{memory:>10.1}{p50:>10.2}{p99:>9.2}{p999:>9.2}{rtp:>10.2}{media:>8.2}{switches:>11.0}{setup:>10}{echo:>9}"
        );
    }
}

fn shown(value: f64) -> String {
    if value.is_nan() { "-".into() } else { format!("{value:.1}") }
}

/// The figures that are judged, and what failed.
#[derive(Default)]
pub struct Verdict {
    lines: Vec<String>,
    remarks: Vec<String>,
    failures: Vec<String>,
    ratio: Option<f64>,
}

impl Verdict {
    /// A figure with an upper bound.
    pub fn at_most(&mut self, what: impl Into<String>, value: f64, most: f64) {
        self.judge(what.into(), value, &format!("<= {most}"), value <= most);
    }

    /// A figure with a lower bound.
    pub fn at_least(&mut self, what: impl Into<String>, value: f64, least: f64) {
        self.judge(what.into(), value, &format!(">= {least}"), value >= least);
    }

    /// A figure with both.
    pub fn within(&mut self, what: impl Into<String>, value: f64, bounds: RangeInclusive<f64>) {
        let text = format!("{} to {}", bounds.start(), bounds.end());
        self.judge(what.into(), value, &text, bounds.contains(&value));
    }

    /// What has to be so.
    pub fn holds(&mut self, holds: bool, otherwise: String) {
        if !holds {
            self.failures.push(otherwise);
        }
    }

    /// A figure without a bound.
    pub fn show(&mut self, what: &str, value: f64) {
        self.lines.push(format!("{what:<84}{value:>9.3}"));
    }

    /// Something to know about the figures.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// What the last line says; the first one told counts.
    pub fn ratio(&mut self, ratio: f64) {
        self.ratio.get_or_insert(ratio);
    }

    fn judge(&mut self, what: String, value: f64, bound: &str, holds: bool) {
        let verdict = if holds { "" } else { "  FAILED" };
        self.lines.push(format!("{what:<84}{value:>9.3}  {bound}{verdict}"));
        // A figure that could not be taken is NaN and holds nothing.
        self.holds(holds, format!("{what}: {value:.3} is not {bound}"));
    }

    /// Prints it all, the ratio last; whether nothing failed.
    pub fn print(self) -> bool {
        println!();
        self.lines.iter().for_each(|line| println!("{line}"));
        self.remarks.iter().for_each(|remark| println!("{remark}"));
        self.failures.iter().for_each(|failure| println!("FAILED: {failure}"));
        if let Some(ratio) = self.ratio {
            println!("ratio {ratio:.2}");
        }
        self.failures.is_empty()
    }
}
