//! `hangup`: ends the call; an unanswered call is refused.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Applet, Outcome, UrlCheck, Wrong};

/// The settings of `hangup`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Q.850 cause in the Reason header of the BYE or refusal. Default: 16, normal clearing.
    #[serde(default = "normal_clearing")]
    #[schemars(range(min = 1, max = 127))]
    cause: u16,
    /// SIP code of the refusal when the call is not answered yet. Default: the code that belongs to `cause`.
    #[serde(default)]
    #[schemars(example = 486, range(min = 300, max = 699))]
    sip_code: Option<u16>,
}

const fn normal_clearing() -> u16 {
    16
}

/// A checked `hangup` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hangup {
    /// Q.850 cause, 1 to 127.
    pub cause: u16,
    /// SIP code of a refusal, 300 to 699; `None`: the one that belongs to `cause`.
    pub sip_code: Option<u16>,
}

impl Applet for Hangup {
    const NAME: &'static str = "hangup";
    type Settings = Settings;

    fn check(settings: Settings, _url: UrlCheck<'_>) -> Result<Self, Vec<Wrong>> {
        let Settings { cause, sip_code } = settings;
        let mut wrong = Vec::new();
        if !(1..=127).contains(&cause) {
            wrong.push(Wrong::new("cause", format!("{cause} is not a Q.850 cause; expected 1 to 127")));
        }
        if let Some(code) = sip_code.filter(|code| !(300..=699).contains(code)) {
            wrong.push(Wrong::new("sip_code", format!("{code} does not refuse a call; expected 300 to 699")));
        }
        if wrong.is_empty() { Ok(Self { cause, sip_code }) } else { Err(wrong) }
    }

    fn transitions(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }

    fn after(&self, _outcome: Outcome) -> Option<&str> {
        None
    }

    fn needs_caller(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Hangup, Vec<Wrong>> {
        crate::flow::settings::read(toml::from_str(text).expect("TOML"), &|_| Ok(()))
    }

    #[test]
    fn hangup_clears_normally_unless_told_otherwise() {
        assert_eq!(read(""), Ok(Hangup { cause: 16, sip_code: None }));
        assert_eq!(read("cause = 17\nsip_code = 486"), Ok(Hangup { cause: 17, sip_code: Some(486) }));
    }

    #[test]
    fn hangup_refuses_what_is_no_cause_and_no_refusal() {
        let wrong = read("cause = 0\nsip_code = 200").unwrap_err();
        assert_eq!(wrong.iter().map(|wrong| wrong.key.as_str()).collect::<Vec<_>>(), ["cause", "sip_code"]);
        assert!(wrong[0].message.contains("1 to 127") && wrong[1].message.contains("300 to 699"), "{wrong:?}");
    }
}
