//! Copies for a trace (OPS-026): what passed, decrypted, and nothing where nobody asks.

use super::protected::keys;
use super::*;
use crate::media::rtp::srtp::Srtp;

/// Kind, direction, whether on the RTCP port, whether decrypted, and length of each copy.
fn copies(world: &mut World) -> Vec<(Copied, bool, bool, bool, usize)> {
    let copies = std::iter::from_fn(|| world.session.poll_copy());
    copies.map(|copy| (copy.kind, copy.outgoing, copy.rtcp_port, copy.decrypted, copy.bytes.len())).collect()
}

#[test]
fn ops_026_packets_of_both_directions_are_copied_only_while_that_is_wanted() {
    let mut world = World::new();
    world.receive(0, &[0x80; 160]);
    world.send(&[]);
    assert_eq!(copies(&mut world), []);
    world.session.set_copying(true);
    world.receive(0, &[0x80; 160]);
    world.receive(101, &[5, 0, 0, 160]);
    world.send(&[]);
    let now = world.now();
    world.session.handle_rtp(now, "198.51.100.9:7".parse().expect("an address"), &[0x80; 20]);
    world.session.handle_rtcp(now, peer(), &[0x80, 201, 0, 1, 0, 0, 0, 1]);
    assert!(world.session.goodbye(now, &mut Vec::new()).is_some());
    let found = copies(&mut world);
    assert_eq!(
        found[..4],
        [
            (Copied::Audio, false, false, false, 172),
            (Copied::Event, false, false, false, 16),
            (Copied::Audio, true, false, false, 172),
            (Copied::Audio, false, false, false, 20), // a stranger's, which is not heard
        ]
    );
    assert_eq!(found[4], (Copied::Rtcp, false, true, false, 8));
    assert!(matches!(found[5], (Copied::Rtcp, true, true, false, _)) && found.len() == 6, "{found:?}");
    world.session.set_copying(false);
    world.receive(0, &[0x80; 160]);
    assert_eq!(copies(&mut world), []);
}

#[test]
fn ops_026_srtp_is_copied_decrypted_and_what_cannot_be_as_it_came() {
    let mut world = World::new();
    world.session.set_srtp(Some(&keys(1, 2)));
    world.session.set_copying(true);
    let (mut caller, mut stranger) = (Srtp::new(&keys(2, 1)), Srtp::new(&keys(9, 1)));
    for srtp in [&mut caller, &mut stranger] {
        let mut bytes = Vec::new();
        Packet { marker: false, payload_type: 0, sequence: 1, timestamp: 0, ssrc: 1, payload: &[0x55; 160] }
            .write(&mut bytes);
        srtp.protect_rtp(&mut bytes);
        let now = world.now();
        world.session.handle_rtp(now, peer(), &bytes);
    }
    world.send(&[]);
    let mut report = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    caller.protect_rtcp(&mut report);
    let now = world.now();
    world.session.handle_rtcp(now, peer(), &report);
    assert_eq!(
        copies(&mut world),
        [
            (Copied::Audio, false, false, true, 172),
            (Copied::Encrypted, false, false, false, 182),
            (Copied::Audio, true, false, true, 172),
            (Copied::Rtcp, false, true, true, 8),
        ]
    );
}

#[test]
fn copies_that_nobody_takes_are_bounded() {
    let mut world = World::new();
    world.session.set_copying(true);
    (0..1000).for_each(|_| world.receive(0, &[0x80; 160]));
    assert_eq!(copies(&mut world).len(), 256);
}
