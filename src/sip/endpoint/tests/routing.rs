//! Where requests of ours go inside a dialog.

use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of, trunk};
use crate::sip::message::Request;
use crate::sip::{Reason, Rejection};

/// Answers an INVITE with these lines, hangs up, and gives our BYE.
fn bye_after(bench: &mut Bench, lines: &str, contact: &str) -> (String, Request) {
    let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\n";
    let invite = request("INVITE", "a", "c1", 1, &format!("{lines}{sdp}"));
    bench.receive(&invite.replace("<sip:0806@198.51.100.1:5060>", contact));
    let dialog = bench.events[0].dialog();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    bench.endpoint.bye(bench.now, dialog, Vec::new());
    bench.drain();
    let (to, bye) = bench.request();
    (to.to_string(), bye)
}

#[test]
fn sip_051_loose_routes_are_copied_in_order_and_the_first_is_the_next_hop() {
    let lines = "Record-Route: <sip:198.51.100.2:5070;lr=on;did=1.a>\r\nRecord-Route: <sip:p.example;lr>\r\n";
    let (to, bye) = bye_after(&mut Bench::new(), lines, "<sip:0806@10.0.0.9:5062;transport=udp>");
    assert_eq!((to.as_str(), bye.uri.as_str()), ("198.51.100.2:5070", "sip:0806@10.0.0.9:5062;transport=udp"));
    let routes: Vec<_> = bye.headers.get_all("Route").collect();
    assert_eq!(routes, ["<sip:198.51.100.2:5070;lr=on;did=1.a>", "<sip:p.example;lr>"]);
}

#[test]
fn sip_051_a_strict_router_gets_its_own_uri_and_the_target_comes_last() {
    let lines = "Record-Route: <sip:198.51.100.2?x=y>, <sip:198.51.100.3;lr>\r\n";
    let (to, bye) = bye_after(&mut Bench::new(), lines, "<sip:0806@198.51.100.9>");
    assert_eq!((to.as_str(), bye.uri.as_str()), ("198.51.100.2:5060", "sip:198.51.100.2"));
    assert_eq!(bye.headers.get_all("Route").collect::<Vec<_>>(), ["<sip:198.51.100.3;lr>", "<sip:0806@198.51.100.9>"]);
}

#[test]
fn sip_052_the_next_hop_is_the_contact_and_not_the_source() {
    let (to, _) = bye_after(&mut Bench::new(), "", "<sip:0806@198.51.100.77:5099>");
    assert_eq!(to, "198.51.100.77:5099");
    let (to, _) = bye_after(&mut Bench::new(), "", "<sip:0806@192.168.1.7:5099>");
    assert_eq!(to, "192.168.1.7:5099", "without the fix even a private one");
}

#[test]
fn sip_052_nat_contact_fix_sends_to_the_source_where_the_contact_is_private() {
    let fixed = || {
        let mut trunk = trunk("nat", &["acc1"], "198.51.100.0/24");
        trunk.nat_contact_fix = true;
        Bench::with(trunk)
    };
    let (to, bye) = bye_after(&mut fixed(), "", "<sip:0806@192.168.1.7:5099>");
    assert_eq!((to.as_str(), bye.uri.as_str()), ("198.51.100.1:5060", "sip:0806@192.168.1.7:5099"));
    let (to, _) = bye_after(&mut fixed(), "Record-Route: <sip:10.0.0.2;lr>\r\n", "<sip:0806@192.168.1.7>");
    assert_eq!(to, "10.0.0.2:5060");
}

#[test]
fn a_host_name_as_next_hop_falls_back_to_the_source() {
    let (to, bye) = bye_after(&mut Bench::new(), "", "<sip:0806@pbx.example>");
    assert_eq!((to.as_str(), bye.uri.as_str()), ("198.51.100.1:5060", "sip:0806@pbx.example"));
}

#[test]
fn sip_023_requests_of_ours_have_what_the_rfc_asks_for() {
    let (_, bye) = bye_after(&mut Bench::new(), "", "<sip:0806@198.51.100.1>");
    let via = bye.headers.get("Via").expect("a Via");
    assert!(via.starts_with("SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK") && via.ends_with(";rport"), "{via}");
    assert_eq!(bye.headers.get("Max-Forwards"), Some("70"));
    assert_eq!(bye.headers.get("To"), Some("\"A\" <sip:0806@198.51.100.1>;tag=peer"));
    assert!(bye.headers.get("From").is_some_and(|from| from.starts_with("<sip:1000@192.0.2.10>;tag=")));
    assert_eq!((bye.headers.get("Call-ID"), bye.headers.get("CSeq")), (Some("c1"), Some("1 BYE")));
}

#[test]
fn latin1_names_come_back_byte_for_byte() {
    let mut bench = Bench::new();
    let text = request("OPTIONS", "a", "c1", 1, "").replace("\"A\"", "\"M#ller\"");
    let bytes: Vec<u8> = text.bytes().map(|b| if b == b'#' { 0xfc } else { b }).collect();
    let peer = "198.51.100.1:5060".parse().expect("an address");
    bench.endpoint.handle_datagram(bench.now, crate::sip::ListenerId(0), peer, &bytes);
    let sent = bench.endpoint.poll_transmit().expect("an answer").bytes;
    assert!(sent.windows(8).any(|window| window == b"\"M\xfcller\""));
}

#[test]
fn sip_113_peers_outside_never_see_the_address_that_is_bound() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    for text in [
        in_dialog("OPTIONS", "o1", 2, &tag, ""),
        in_dialog("INFO", "i1", 3, &tag, "Info-Package: x\r\n\r\nx"),
        in_dialog("INVITE", "r1", 4, &tag, "Content-Type: application/sdp\r\n\r\nv=0\r\n"),
        invite("b2", "c2", 1),
        request("FOO", "b3", "c3", 1, ""),
    ] {
        bench.receive(&text);
    }
    let warned = Rejection { warning: Some((305, "no codec".into())), ..Rejection::new(488) };
    bench.endpoint.reject(bench.now, dialog, warned);
    bench.endpoint.refer(bench.now, dialog, super::referring::refer());
    bench.endpoint.bye(bench.now, dialog, vec![Reason::q850(16)]);
    bench.drain();
    let sent: Vec<_> = bench.sent.iter().map(|(_, message)| format!("{message:?}")).collect();
    assert!(sent.len() > 7 && sent.iter().any(|text| text.contains("Warning")));
    assert!(sent.iter().all(|text| !text.contains("10.9.9.9")), "{sent:#?}");
}
