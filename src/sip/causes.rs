//! SIP codes and Q.850 causes, each in the other's words, and what the end of a call out means (RFC 3398 sections 7.2.4.1
//! and 8.2.6.1, SIP-122).

use super::reason::{Reason, ReasonProtocol};

/// Q.850 causes and the SIP code each becomes (RFC 3398 section 7.2.4.1).
pub const SIP_OF_CAUSE: [(u16, u16); 30] = [
    (1, 404),
    (2, 404),
    (3, 404),
    (17, 486),
    (18, 408),
    (19, 480),
    (20, 480),
    (21, 403),
    (22, 410),
    (26, 404),
    (27, 502),
    (28, 484),
    (29, 501),
    (31, 480),
    (34, 503),
    (38, 503),
    (41, 503),
    (42, 503),
    (47, 503),
    (55, 403),
    (57, 403),
    (87, 403),
    (58, 503),
    (88, 503),
    (65, 488),
    (70, 488),
    (79, 501),
    (102, 504),
    (111, 500),
    (127, 500),
];

/// SIP codes and the Q.850 cause each becomes (RFC 3398 section 8.2.6.1).
pub const CAUSE_OF_SIP: [(u16, u16); 31] = [
    (400, 41),
    (401, 21),
    (402, 21),
    (403, 21),
    (404, 1),
    (405, 63),
    (406, 79),
    (407, 21),
    (408, 102),
    (410, 22),
    (413, 127),
    (414, 127),
    (415, 79),
    (416, 127),
    (420, 127),
    (421, 127),
    (480, 18),
    (481, 41),
    (484, 28),
    (486, 17),
    (488, 65),
    (500, 41),
    (501, 79),
    (502, 38),
    (503, 41),
    (504, 102),
    (505, 127),
    (513, 127),
    (600, 17),
    (603, 21),
    (604, 1),
];

/// What became of a call out that was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegResult {
    /// `busy`
    Busy,
    /// `no-answer`
    NoAnswer,
    /// `failed`: there is no such number.
    Invalid,
    /// `failed`: the callee or its network does not want it.
    Rejected,
    /// `failed`: there was no way through.
    Congestion,
    /// `failed`
    Failed,
}

impl LegResult {
    /// The word that callers of an API and people read.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Invalid | Self::Rejected | Self::Congestion | Self::Failed => "failed",
        }
    }

    /// What exactly, where the word is `failed`.
    #[must_use]
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::Invalid => Some("invalid number"),
            Self::Rejected => Some("rejected"),
            Self::Congestion => Some("congestion"),
            Self::Busy | Self::NoAnswer | Self::Failed => None,
        }
    }
}

/// Results by SIP code.
const RESULT_OF_SIP: [(u16, LegResult); 10] = [
    (403, LegResult::Rejected),
    (404, LegResult::Invalid),
    (408, LegResult::NoAnswer),
    (480, LegResult::NoAnswer),
    (484, LegResult::Invalid),
    (486, LegResult::Busy),
    (487, LegResult::NoAnswer),
    (600, LegResult::Busy),
    (603, LegResult::Rejected),
    (604, LegResult::Invalid),
];

/// Results by Q.850 cause, which says more than the code.
const RESULT_OF_CAUSE: [(u16, LegResult); 10] = [
    (1, LegResult::Invalid),
    (17, LegResult::Busy),
    (18, LegResult::NoAnswer),
    (19, LegResult::NoAnswer),
    (21, LegResult::Rejected),
    (28, LegResult::Invalid),
    (34, LegResult::Congestion),
    (38, LegResult::Congestion),
    (41, LegResult::Congestion),
    (42, LegResult::Congestion),
];

/// What a refusal with `code` and `reasons` means; a Q.850 cause that says something overrides the code.
#[must_use]
pub fn result_of(code: u16, reasons: &[Reason]) -> LegResult {
    let causes = reasons.iter().filter(|reason| reason.protocol == ReasonProtocol::Q850).filter_map(|r| r.cause);
    let by_cause = causes.filter_map(|cause| row(&RESULT_OF_CAUSE, cause)).next();
    by_cause.or_else(|| row(&RESULT_OF_SIP, code)).unwrap_or(LegResult::Failed)
}

/// The SIP code of a Q.850 cause; 500 for one without a row.
#[must_use]
pub fn sip_of(cause: u16) -> u16 {
    row(&SIP_OF_CAUSE, cause).unwrap_or(500)
}

/// The Q.850 cause of a final refusal; 127, interworking, for one without a row.
#[must_use]
pub fn cause_of(code: u16) -> u16 {
    row(&CAUSE_OF_SIP, code).unwrap_or(127)
}

fn row<T: Copy>(table: &[(u16, T)], key: u16) -> Option<T> {
    table.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_122_results_by_code() {
        for (codes, word, detail) in [
            (&[486, 600][..], "busy", None),
            (&[408, 480, 487], "no-answer", None),
            (&[404, 484, 604], "failed", Some("invalid number")),
            (&[403, 603], "failed", Some("rejected")),
            (&[500, 501, 502, 503, 504, 513, 302, 488, 606], "failed", None),
        ] {
            for code in codes {
                let result = result_of(*code, &[]);
                assert_eq!((result.word(), result.detail()), (word, detail), "{code}");
            }
        }
    }

    #[test]
    fn sip_122_a_q850_cause_overrides_the_code_and_others_do_not() {
        for (causes, word, detail) in [
            (&[17][..], "busy", None),
            (&[18, 19], "no-answer", None),
            (&[1, 28], "failed", Some("invalid number")),
            (&[21], "failed", Some("rejected")),
            (&[34, 38, 41, 42], "failed", Some("congestion")),
        ] {
            for cause in causes {
                let result = result_of(500, &[Reason::sip(486), Reason::q850(*cause)]);
                assert_eq!((result.word(), result.detail()), (word, detail), "{cause}");
            }
        }
        assert_eq!(result_of(486, &[Reason::q850(16), Reason::sip(603)]), LegResult::Busy);
    }

    #[test]
    fn sip_122_codes_and_causes_are_those_of_rfc_3398() {
        let causes = "1>404 2>404 3>404 17>486 18>408 19>480 20>480 21>403 22>410 26>404 27>502 28>484 29>501 31>480 34>503 \
                      38>503 41>503 42>503 47>503 55>403 57>403 87>403 58>503 88>503 65>488 70>488 79>501 102>504 111>500 127>500";
        let codes = "400>41 401>21 402>21 403>21 407>21 404>1 405>63 406>79 408>102 410>22 413>127 414>127 416>127 420>127 421>127 \
                     415>79 480>18 481>41 484>28 486>17 500>41 501>79 502>38 503>41 504>102 600>17 603>21 604>1";
        let pair = |text: &str| {
            let (from, to) = text.split_once('>').expect("a pair");
            (from.parse::<u16>().expect("a number"), to.parse::<u16>().expect("a number"))
        };
        for (cause, code) in causes.split_whitespace().map(pair) {
            assert_eq!(sip_of(cause), code, "cause {cause}");
        }
        for (code, cause) in codes.split_whitespace().map(pair) {
            assert_eq!(cause_of(code), cause, "code {code}");
        }
        assert_eq!((sip_of(99), cause_of(699)), (500, 127));
    }
}
