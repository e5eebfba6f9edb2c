//! Behind a trusted proxy the peer is not the source of the packet but whom the proxy names in a header (SIP-092).

use std::net::{IpAddr, SocketAddr};

use super::Headers;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It is not there.
    Nobody,
    /// This address.
    Peer(IpAddr),
    /// Something else, or two different addresses: somebody put one there before the proxy did.
    Unreadable,
}

/// Takes every line of the header out, so that it reaches nobody, whoever sent it; and what it said.
pub fn take_peer(header: &str, headers: &mut Headers) -> Named {
    let lines = headers.take(header);
    let mut named = Named::Nobody;
    for line in &lines {
        let found = address(line.as_str()).map_or(Named::Unreadable, Named::Peer);
        named = if named == Named::Nobody || named == found { found } else { Named::Unreadable };
    }
    named
}

/// `ADDRESS` or `ADDRESS:PORT`; an IPv6 address with a port in brackets, without one with or without.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(values: &[&str]) -> Named {
        let mut headers = Headers::new();
        values.iter().for_each(|value| headers.push("x-real-peer", *value));
        headers.push("X-Other", "1");
        let named = take_peer("X-Real-Peer", &mut headers);
        assert_eq!(headers.iter().count(), 1, "the header is taken out");
        named
    }

    #[test]
    fn sip_092_the_peer_is_an_address_with_or_without_port() {
        let peer = |text: &str| Named::Peer(text.parse().expect("an address"));
        assert_eq!(named(&[]), Named::Nobody);
        assert_eq!(named(&[" 198.51.100.7 "]), peer("198.51.100.7"));
        assert_eq!(named(&["198.51.100.7:5060", "198.51.100.7"]), peer("198.51.100.7"));
        for text in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:5060"] {
            assert_eq!(named(&[text]), peer("2001:db8::7"), "{text}");
        }
        assert_eq!(named(&["::ffff:198.51.100.7"]), peer("198.51.100.7"));
    }

    #[test]
    fn sip_092_a_second_opinion_or_no_address_is_nobodys() {
        assert_eq!(named(&["198.51.100.7", "198.51.100.8"]), Named::Unreadable);
        for text in ["", "pbx.example.org", "198.51.100.7, 198.51.100.8", "[198.51.100.7", "198.51.100.7:99999"] {
            assert_eq!(named(&[text]), Named::Unreadable, "{text}");
        }
    }

    proptest! {
        #[test]
        fn sip_092_no_value_panics(value in ".{0,60}") {
            let _ = address(&value);
        }
    }
}
