//! Extended sequence numbers, loss and duplicates of one SSRC (RFC 3550, A.1 and A.3).

/// A sequence number may run ahead by this much.
const MAX_DROPOUT: u16 = 3000;
/// A packet may come this much behind the highest.
const MAX_MISORDER: u16 = 100;
/// Sequence numbers whose arrival is remembered.
const WINDOW: u64 = 128;

/// Where a sequence number stands. The number is the extended one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Ahead of all others.
    Ahead(u64),
    /// Out of order, seen for the first time.
    Earlier(u64),
    /// Seen before.
    Duplicate,
    /// Far from all others: a stray, or the first of a restart.
    Suspect,
    /// The second in a row after a jump: the sender has restarted.
    Restart,
}

/// The sequence of one SSRC.
#[derive(Debug, Clone)]
pub struct Sequence {
    first: u64,
    highest: u64,
    received: u64,
    /// How often numbers were missing before the next that came.
    gaps: u64,
    /// Bit n: `highest - n` has come.
    window: u128,
    /// What would follow the last suspect.
    suspect: Option<u16>,
    /// Expected and received at the last report.
    reported: (u64, u64),
}

impl Sequence {
    /// Begins with `sequence`. Extended numbers begin in the cycle `epoch`, so those of two epochs never meet.
    #[must_use]
    pub fn new(epoch: u32, sequence: u16) -> Self {
        // A misordered packet may step back under the first one: the first cycle of an epoch is 1.
        let first = (u64::from(epoch) << 32) + (1 << 16) + u64::from(sequence);
        Self { first, highest: first, received: 1, gaps: 0, window: 1, suspect: None, reported: (0, 0) }
    }

    /// Takes note of an audio packet's number.
    pub fn observe(&mut self, sequence: u16) -> Placement {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if ahead != 0 && ahead < MAX_DROPOUT {
            self.advance(u64::from(ahead));
            Placement::Ahead(self.highest)
        } else if behind <= MAX_MISORDER {
            self.fill(u64::from(behind))
        } else if self.suspect == Some(sequence) {
            Placement::Restart
        } else {
            self.suspect = Some(sequence.wrapping_add(1));
            Placement::Suspect
        }
    }

    /// Takes note of a packet that is not audio and may count from another base (RTP-004): a number that does not fit is
    /// none of ours and changes nothing.
    pub fn observe_other(&mut self, sequence: u16) -> Option<u64> {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        match self.fits(ahead).then(|| self.observe(sequence))? {
            Placement::Ahead(extended) | Placement::Earlier(extended) => Some(extended),
            Placement::Duplicate | Placement::Suspect | Placement::Restart => None,
        }
    }

    fn fits(&self, ahead: u16) -> bool {
        const NEAR: u16 = 50;
        ahead <= NEAR || ahead.wrapping_neg() <= NEAR
    }

    fn advance(&mut self, by: u64) {
        self.window = if by < WINDOW { self.window << by | 1 } else { 1 };
        self.gaps += u64::from(by > 1);
        self.highest += by;
        self.received += 1;
        self.suspect = None;
    }

    fn fill(&mut self, behind: u64) -> Placement {
        let bit = 1 << behind;
        if self.window & bit != 0 {
            return Placement::Duplicate;
        }
        self.window |= bit;
        self.received += 1;
        let extended = self.highest - behind;
        self.first = self.first.min(extended);
        Placement::Earlier(extended)
    }

    /// How many between `after` and `before` have not come. Those that are too old to remember count as come.
    #[must_use]
    pub fn missing_between(&self, after: u64, before: u64) -> u64 {
        if after < self.first || before > self.highest {
            return 0;
        }
        let oldest = (after + 1).max((self.highest + 1).saturating_sub(WINDOW));
        (oldest..before).filter(|number| self.window & 1 << (self.highest - number) == 0).count() as u64
    }

    /// Packets that never came, so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// Gaps so far, those that were filled later included.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }

    /// The highest extended number as RTCP shows it: cycles and 16 bits.
    #[must_use]
    pub fn highest(&self) -> u32 {
        (self.highest as u32).wrapping_sub(1 << 16)
    }

    /// The fraction lost since the last call, in 256ths (RFC 3550, A.3).
    pub fn take_fraction_lost(&mut self) -> u8 {
        let (expected, received) = (self.expected(), self.received);
        let expected_since = expected.saturating_sub(self.reported.0);
        let lost_since = expected_since.saturating_sub(received.saturating_sub(self.reported.1));
        self.reported = (expected, received);
        (lost_since * 256).checked_div(expected_since).unwrap_or(0).min(255) as u8
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rtp_022_the_number_grows_over_the_wrap() {
        let mut sequence = Sequence::new(0, 65_534);
        let numbers: Vec<_> = [65_535, 0, 1].map(|number| sequence.observe(number)).into();
        let first = (1 << 16) + 65_534;
        assert_eq!(numbers, [1, 2, 3].map(|n| Placement::Ahead(first + n)));
        assert_eq!((sequence.lost(), sequence.highest()), (0, (1 << 16) + 1));
    }

    #[test]
    fn rtp_022_a_second_copy_is_a_duplicate_and_a_gap_can_be_filled_once() {
        let mut sequence = Sequence::new(0, 10);
        assert_eq!(sequence.observe(10), Placement::Duplicate);
        let Placement::Ahead(twelve) = sequence.observe(12) else { panic!("ahead") };
        assert_eq!((sequence.lost(), sequence.missing_between(twelve - 2, twelve)), (1, 1));
        assert_eq!(sequence.observe(11), Placement::Earlier(twelve - 1));
        assert_eq!(sequence.observe(11), Placement::Duplicate);
        assert_eq!((sequence.lost(), sequence.missing_between(twelve - 2, twelve)), (0, 0));
    }

    #[test]
    fn rtp_002_a_jump_is_a_restart_after_two_in_a_row_and_a_stray_is_not() {
        let mut sequence = Sequence::new(0, 100);
        assert_eq!(sequence.observe(30_000), Placement::Suspect);
        assert!(matches!(sequence.observe(101), Placement::Ahead(_)));
        assert_eq!(sequence.observe(30_000), Placement::Suspect);
        assert_eq!(sequence.observe(30_001), Placement::Restart);
    }

    #[test]
    fn rtp_002_dropout_and_misorder_have_the_limits_of_the_rfc() {
        assert!(matches!(Sequence::new(0, 0).observe(2999), Placement::Ahead(_)));
        assert_eq!(Sequence::new(0, 0).observe(3000), Placement::Suspect);
        assert!(matches!(Sequence::new(0, 200).observe(100), Placement::Earlier(_)));
        assert_eq!(Sequence::new(0, 200).observe(99), Placement::Suspect);
    }

    #[test]
    fn rtp_004_an_event_with_another_base_changes_nothing() {
        let mut sequence = Sequence::new(0, 100);
        for number in [9000, 9001, 9002] {
            assert_eq!(sequence.observe_other(number), None);
        }
        assert!(sequence.observe_other(101).is_some());
        assert!(matches!(sequence.observe(102), Placement::Ahead(_)));
        assert_eq!(sequence.lost(), 0);
    }

    #[test]
    fn the_fraction_lost_is_of_the_time_since_the_last_report() {
        let mut sequence = Sequence::new(0, 0);
        for number in 1..=9 {
            sequence.observe(number);
        }
        assert_eq!(sequence.take_fraction_lost(), 0);
        for number in [10, 12, 14, 16, 18] {
            sequence.observe(number);
        }
        assert_eq!(sequence.take_fraction_lost(), (4 * 256 / 9) as u8);
        assert_eq!(sequence.take_fraction_lost(), 0);
    }

    proptest! {
        #[test]
        fn rtp_002_no_numbers_make_it_panic(numbers in proptest::collection::vec(any::<u16>(), 1..200), near in proptest::collection::vec(0_u16..300, 1..200)) {
            let mut sequence = Sequence::new(3, numbers[0]);
            for number in numbers.iter().chain(&near) {
                if let Placement::Earlier(extended) | Placement::Ahead(extended) = sequence.observe(*number) {
                    let _ = sequence.missing_between(extended.saturating_sub(300), extended);
                }
                sequence.observe_other(number.wrapping_mul(7));
            }
            let _ = (sequence.lost(), sequence.highest(), sequence.take_fraction_lost());
        }
    }
}
