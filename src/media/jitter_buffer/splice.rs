//! Taking a frame out of sound so that nobody hears it (RTP-023): in a pause, else where it is quiet or repeats itself.

/// Mean magnitude that passes for silence whatever was before: about -50 dBov.
const QUIET: u32 = 100;
/// Sound is quiet where it is this much lower than the loudest since the wish: 18 dB.
const QUIETER: u32 = 8;
/// Pulls in a row that are quiet in a pause, with the frame after them 200 ms: the closure of a `p` and a low `s` are shorter,
/// so that a sentence stays as it was spoken.
const PAUSE: u32 = 9;
/// Pulls after which a quiet frame within a word will do, or sound that repeats itself: 5 s.
const PATIENCE: u32 = 250;
/// Pulls after which any sound will do: 10 s.
const LIMIT: u32 = 500;

/// The wish to put in or take out a frame, waiting for its moment.
#[derive(Debug, Default)]
pub struct Moment {
    waited: u32,
    loudest: u32,
    /// Quiet pulls up to now.
    quiet: u32,
}

impl Moment {
    /// Nothing is wished for.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether a frame may be taken out of sound of this level: unless it is pressing it can wait for a pause.
    pub fn may_remove(&mut self, level: u32, pressing: bool, repeats: impl FnOnce() -> bool) -> bool {
        let quiet = self.hear(level);
        let will_do = (quiet && pressing) || (self.waited > PATIENCE && (quiet || repeats()));
        self.decide(self.quiet >= PAUSE || will_do || self.waited > LIMIT)
    }

    /// Whether a frame may be put into sound of this level: packets may come too late until then.
    pub fn may_insert(&mut self, level: u32) -> bool {
        let quiet = self.hear(level);
        self.decide(quiet || self.waited > PATIENCE)
    }

    fn hear(&mut self, level: u32) -> bool {
        self.waited += 1;
        self.loudest = self.loudest.max(level);
        let quiet = level <= QUIET || level * QUIETER <= self.loudest;
        self.quiet = if quiet { self.quiet + 1 } else { 0 };
        quiet
    }

    fn decide(&mut self, come: bool) -> bool {
        if come {
            self.reset();
        }
        come
    }
}

/// Mean magnitude.
pub fn level(audio: &[i16]) -> u32 {
    let sum: u32 = audio.iter().map(|sample| u32::from(sample.unsigned_abs())).sum();
    sum.checked_div(audio.len() as u32).unwrap_or(0)
}

/// Whether the second of two frames begins much like the first: a correlation of at least 0.8 where they will overlap.
pub fn repeats(frames: &[i16]) -> bool {
    let (first, second) = frames.split_at(frames.len() / 2);
    let (mut product, mut one, mut other) = (0.0, 1.0, 1.0);
    for (a, b) in first.iter().zip(second).take(first.len() / 2) {
        let (a, b) = (f32::from(*a), f32::from(*b));
        product += a * b;
        one += a * a;
        other += b * b;
    }
    product > 0.0 && product * product > 0.64 * one * other
}

/// Lets the first of two frames flow into the second in half a frame; the first may then be dropped.
pub fn overlap(frames: &mut [i16]) {
    let (first, second) = frames.split_at_mut(frames.len() / 2);
    let length = first.len() / 2;
    for (n, (a, b)) in first[..length].iter().zip(second).enumerate() {
        let (old, new) = (i32::from(*a) * (length - n) as i32, i32::from(*b) * n as i32);
        *b = ((old + new) / length as i32) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64) -> Vec<i16> {
        (0..320).map(|n| (8000.0 * (std::f64::consts::TAU * hz * f64::from(n) / 8000.0).sin()) as i16).collect()
    }

    #[test]
    fn rtp_023_a_frame_is_taken_out_of_a_pause_within_5_s_where_it_repeats_after_them_anywhere_after_10() {
        let mut moment = Moment::default();
        assert!((1..PAUSE).all(|_| !moment.may_remove(20, false, || true)), "not yet a pause");
        assert!(moment.may_remove(20, false, || false), "a pause");
        let mut words = [3000, 3000, 300, 300, 300].into_iter().cycle();
        assert!(
            (0..PATIENCE).all(|_| words.next().is_some_and(|level| !moment.may_remove(level, false, || true))),
            "words"
        );
        assert!(moment.may_remove(3000, false, || true), "loud, but after 5 s and repeating");
        assert!((0..PATIENCE).all(|_| !moment.may_remove(3000, false, || false)));
        assert!(moment.may_remove(300, false, || false), "quiet in a word, but after 5 s");
        assert!((0..LIMIT).all(|_| !moment.may_remove(3000, false, || false)));
        assert!(moment.may_remove(3000, false, || false));
        assert!((0..PAUSE).all(|_| !moment.may_remove(3000, false, || false)));
        assert!(
            (1..PAUSE).all(|_| !moment.may_remove(300, false, || false)) && moment.may_remove(300, false, || false),
            "noise between"
        );
    }

    #[test]
    fn rtp_020_a_frame_is_put_into_the_first_quiet_sound_and_into_any_after_5_s() {
        let mut moment = Moment::default();
        assert!(moment.may_insert(20));
        assert!(!moment.may_insert(3000) && moment.may_insert(300), "between two words");
        assert!((0..PATIENCE).all(|_| !moment.may_insert(3000)));
        assert!(moment.may_insert(3000));
    }

    #[test]
    fn rtp_023_a_tone_of_whole_periods_in_a_frame_repeats_and_one_of_half_periods_does_not() {
        assert!(repeats(&sine(200.0)) && repeats(&sine(1000.0)) && !repeats(&sine(225.0)));
        assert!(!repeats(&[0; 320]));
    }

    #[test]
    fn rtp_023_the_joint_has_no_step_whatever_the_phase() {
        for hz in [100.0, 225.0, 430.0, 1004.0] {
            let mut frames = sine(hz);
            let steepest = |audio: &[i16]| audio.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max();
            let before = frames[0];
            let own = steepest(&frames).expect("samples") + 16_000 / 80;
            overlap(&mut frames);
            assert_eq!(frames[160], before);
            assert!(steepest(&frames[160..]).is_some_and(|step| step <= own), "{hz}");
        }
    }
}
