//! What the fuzz targets do with their octets. Each is an ordinary function: `cargo test` runs all of them on made-up
//! octets, the targets in `fuzz_targets/` let libFuzzer choose.

mod buffers;
mod dialogs;
mod input;
mod peers;
mod sip;

pub use buffers::{jitter_buffer, playout};
pub use dialogs::sip_dialogs;
pub use peers::{pcap, rtcp, rtp, sdp, sip_wire, stream_json, telephone_event};
pub use sip::{sip_endpoint, uri};

#[cfg(test)]
mod tests {
    use super::*;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 12] = [
        ("rtp", rtp),
        ("rtcp", rtcp),
        ("telephone_event", telephone_event),
        ("jitter_buffer", jitter_buffer),
        ("playout", playout),
        ("stream_json", stream_json),
        ("sip_wire", sip_wire),
        ("uri", uri),
        ("sip_endpoint", sip_endpoint),
        ("sip_dialogs", sip_dialogs),
        ("sdp", sdp),
        ("pcap", pcap),
    ];

    /// Changed copies of each seed.
    const CHANGES: usize = 500;

    /// Deterministic octets (a 64-bit linear congruential generator).
    struct Octets(u64);

    impl Octets {
        fn next(&mut self) -> u8 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 56) as u8
        }
    }

    #[test]
    fn every_target_takes_made_up_octets() {
        for (name, target) in TARGETS {
            println!("{name}");
            let mut octets = Octets(1);
            for round in 0..300usize {
                let length = round * 4 % 700;
                let made_up: Vec<u8> = (0..length).map(|_| octets.next()).collect();
                target(&made_up);
            }
        }
    }

    /// Shows `target` the seed with one to four octets changed, many times.
    fn changed(seed: &[u8], target: Target) {
        let mut random = Octets(seed.len() as u64);
        for round in 0..CHANGES {
            let mut octets = seed.to_vec();
            for _ in 0..=round % 4 {
                let place = (usize::from(random.next()) << 8 | usize::from(random.next())) % octets.len();
                octets[place] = random.next();
            }
            target(&octets);
        }
    }

    #[test]
    fn every_target_takes_its_seeds_cut_and_changed() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        for (name, target) in TARGETS {
            let seeds = std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
            for seed in seeds {
                let octets = std::fs::read(seed.path()).expect("a seed");
                target(&octets);
                (0..octets.len().min(400)).for_each(|length| target(&octets[..length]));
                changed(&octets, target);
            }
        }
    }

    #[test]
    fn every_target_has_its_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        for (name, _) in TARGETS {
            assert!(folder.join(format!("{name}.rs")).exists(), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder).expect("the folder").count(), TARGETS.len());
    }
}
