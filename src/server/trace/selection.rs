//! Which packets belong to what is asked for.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::ring::{Entry, Kind};
use crate::api::trace::Selection;

/// Digits from which on a number is recognised by its end: a national form of an international one.
const NATIONAL: usize = 7;
/// Call-IDs of which the verdict is remembered.
const REMEMBERED: usize = 10_000;

/// What is known of a call that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its Call-ID.
    pub call_id: Arc<str>,
    /// Its `call_sid`.
    pub call_sid: String,
    /// Its trunk.
    pub trunk: String,
    /// The caller.
    pub from: String,
    /// The called number.
    pub to: String,
}

/// A selection that can be asked.
pub struct Chosen {
    of: Selection,
    /// The networks of the trunk, for calls that never were.
    networks: Vec<IpNet>,
    verdicts: HashMap<String, bool>,
}

impl Chosen {
    /// `networks`: where the trunk's signalling comes from, of a selection by trunk.
    pub fn new(of: Selection, networks: Vec<IpNet>) -> Self {
        Self { of, networks, verdicts: HashMap::new() }
    }

    /// Whether an admitted call is meant.
    pub fn is(&self, call: &Identity) -> bool {
        match &self.of {
            Selection::CallId(id) => *id == *call.call_id,
            Selection::CallSid(sid) => *sid == call.call_sid,
            Selection::From(number) => same_number(&call.from, number),
            Selection::Number(number) => same_number(&call.to, number),
            Selection::Trunk(trunk) => *trunk == call.trunk,
        }
    }

    /// The Call-ID of an entry that is meant; `known` finds an admitted call by its Call-ID.
    pub fn takes(&mut self, entry: &Entry, known: impl Fn(&str) -> Option<Identity>) -> Option<String> {
        let message = match &entry.kind {
            Kind::Sip { .. } => Message::read(&entry.bytes),
            Kind::Media { call_id, .. } => Message { call_id: call_id.to_string(), ..Message::default() },
        };
        if message.call_id.is_empty() {
            return None;
        }
        let taken = match self.verdicts.get(&message.call_id) {
            Some(verdict) => *verdict,
            None => {
                let verdict = match known(&message.call_id) {
                    Some(call) => self.is(&call),
                    None => self.is_of(&message, entry),
                };
                if self.verdicts.len() >= REMEMBERED {
                    self.verdicts.clear();
                }
                self.verdicts.insert(message.call_id.clone(), verdict);
                verdict
            }
        };
        taken.then_some(message.call_id)
    }

    /// By the message alone: of a call that was refused, or is forgotten.
    fn is_of(&self, message: &Message, entry: &Entry) -> bool {
        match &self.of {
            Selection::CallId(id) => *id == message.call_id,
            Selection::CallSid(_) => false,
            Selection::From(number) => same_number(&message.from, number),
            Selection::Number(number) => same_number(&message.to, number) || same_number(&message.target, number),
            Selection::Trunk(_) => {
                let peer = entry.peer.ip().to_canonical();
                self.networks.iter().any(|network| network.contains(&peer))
            }
        }
    }
}

/// What a message says of its call, read as far as that needs, whatever else is wrong with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// `Call-ID`.
    pub call_id: String,
    /// The user parts of From, To and Request-URI.
    pub from: String,
    pub to: String,
    pub target: String,
}

impl Message {
    /// Never panics.
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(16_384)]);
        let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let first = lines.next().unwrap_or_default();
        let mut message = Self::default();
        if !first.starts_with("SIP/") {
            message.target = user(first.split(' ').nth(1).unwrap_or_default());
        }
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let field = match name.trim_end().to_ascii_lowercase().as_str() {
                "call-id" | "i" => {
                    message.call_id = value.trim().to_owned();
                    continue;
                }
                "from" | "f" => &mut message.from,
                "to" | "t" => &mut message.to,
                _ => continue,
            };
            *field = user(value);
        }
        message
    }
}

/// The user part of an address: `"Bob" <sip:+49301@h;x=y>;tag=1` is `+49301`.
fn user(address: &str) -> String {
    let bare = address.rsplit_once('<').map_or(address, |(_, rest)| rest);
    let scheme = bare.split_once(':').map_or(bare, |(_, rest)| rest);
    let end = scheme.find(['@', '>', ';', ' ']).unwrap_or(scheme.len());
    scheme[..end].to_owned()
}

/// Whether two spellings mean one number: the same digits, or one a long end of the other.
fn same_number(found: &str, wanted: &str) -> bool {
    let bare = |text: &str| -> String {
        let text = text.strip_prefix("sip:").or_else(|| text.strip_prefix("tel:")).unwrap_or(text);
        text.chars().filter(|c| !matches!(c, '+' | '-' | '.' | '(' | ')' | ' ')).collect()
    };
    let (found, wanted) = (bare(found), bare(wanted));
    let ends = |long: &str, short: &str| short.len() >= NATIONAL && long.ends_with(short);
    let national = |text: &str| text.trim_start_matches('0').to_owned();
    !wanted.is_empty() && (found == wanted || ends(&found, &national(&wanted)) || ends(&wanted, &national(&found)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ring::tests::sip;
    use super::*;

    const INVITE: &str = "INVITE sip:1000@h;user=phone SIP/2.0\r\nf: \"A <b>\" <sip:+4930123456@pbx>;tag=1\r\n\
        To: <sip:1000@h>\r\nCall-ID : c1@pbx\r\n\r\nCall-ID: other";

    fn takes(of: Selection, text: &str) -> Option<String> {
        Chosen::new(of, vec!["192.0.2.0/24".parse().expect("a network")]).takes(&sip(text), |_| None)
    }

    #[test]
    fn ops_026_a_message_is_of_its_call_id_its_numbers_and_its_source() {
        for of in [
            Selection::CallId("c1@pbx".into()),
            Selection::From("030 123456".into()),
            Selection::From("+4930123456".into()),
            Selection::Number("1000".into()),
            Selection::Trunk("any".into()),
        ] {
            assert_eq!(takes(of.clone(), INVITE), Some("c1@pbx".to_owned()), "{of}");
        }
        for of in [Selection::CallId("c1".into()), Selection::From("3456".into()), Selection::Number("000".into())] {
            assert_eq!(takes(of.clone(), INVITE), None, "{of}");
        }
        assert_eq!(takes(Selection::Trunk("any".into()), "no SIP"), None);
    }

    #[test]
    fn an_admitted_call_is_judged_by_what_is_known_of_it_and_the_verdict_stays() {
        let call = Identity {
            call_id: "c1@pbx".into(),
            call_sid: "51".into(),
            trunk: "pbx".into(),
            from: "sip:anonymous".into(),
            to: "2000".into(),
        };
        let mut chosen = Chosen::new(Selection::CallSid("51".into()), Vec::new());
        assert!(chosen.takes(&sip(INVITE), |_| Some(call.clone())).is_some());
        assert!(chosen.takes(&sip("SIP/2.0 200 OK\r\ni:c1@pbx\r\n\r\n"), |_| None).is_some());
        let mut other = Chosen::new(Selection::Trunk("sbc".into()), vec!["192.0.2.0/24".parse().expect("a network")]);
        assert!(
            other.takes(&sip(INVITE), |_| Some(call.clone())).is_none(),
            "of another trunk behind the same address"
        );
        assert!(Chosen::new(Selection::Number("2000".into()), Vec::new()).is(&call));
    }

    #[test]
    fn a_response_has_no_target_and_a_tel_address_has_a_number() {
        let message = Message::read(b"SIP/2.0 180 Ringing\r\nFrom: tel:+49-30-1;x=y\r\nTo: sip:9@h\r\ni: c\r\n\r\n");
        assert_eq!((message.from.as_str(), message.to.as_str(), message.target.as_str()), ("+49-30-1", "9", ""));
        assert!(same_number("sip:+49-30-123456", "0049 30 123456"));
    }

    proptest! {
        #[test]
        fn no_octets_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::read(&bytes);
        }
    }
}
