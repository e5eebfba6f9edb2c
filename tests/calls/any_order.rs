//! Whatever happens in whatever order: nothing panics, every call ends with one record, and nothing is left behind.

use proptest::prelude::*;
use trunkstream::call::outcome::DialFailure;
use trunkstream::stream::SocketEnd;

use super::world::bot::{Manner, Pickup};
use super::world::link::Weather;
use super::world::sound::speech;
use super::world::text::Offer;
use super::world::{Scene, World, voicebot};

/// One thing that happens; numbers pick among what there is.
#[derive(Debug, Clone)]
enum Act {
    Wait(u64),
    Dial { late: bool, hold: bool },
    Cancel(usize),
    HangUp(usize),
    Reinvite { phone: usize, direction: &'static str, port: u16 },
    ReinviteWithout(usize),
    Info(usize),
    Digits(usize),
    Speak(usize),
    BotPlays(usize, usize),
    BotMarks(usize),
    BotClears(usize),
    BotCloses(usize, Option<u16>),
    BotLost(usize),
    BotNonsense(usize, String),
    NextDial(u8),
    Stall(u64),
    Weather(u32, u64),
    LoseAcks(bool),
    SipGarbage(Vec<u8>),
    RtpGarbage(Vec<u8>),
    ShutDown,
}

fn act() -> impl Strategy<Value = Act> {
    let some = 0..4_usize;
    let direction = prop::sample::select(vec!["sendrecv", "sendonly", "inactive", "recvonly"]);
    let bytes = || prop::collection::vec(any::<u8>(), 0..80);
    prop_oneof![
        8 => (0..3000_u64).prop_map(Act::Wait),
        2 => (1..40_u64).prop_map(|s| Act::Wait(s * 1000)),
        6 => (any::<bool>(), any::<bool>()).prop_map(|(late, hold)| Act::Dial { late, hold }),
        1 => some.clone().prop_map(Act::Cancel),
        1 => some.clone().prop_map(Act::HangUp),
        3 => (some.clone(), direction, 0..2_u16).prop_map(|(phone, direction, port)| Act::Reinvite { phone, direction, port }),
        1 => some.clone().prop_map(Act::ReinviteWithout),
        1 => some.clone().prop_map(Act::Info),
        1 => some.clone().prop_map(Act::Digits),
        1 => some.clone().prop_map(Act::Speak),
        3 => (some.clone(), 0..2000_usize).prop_map(|(n, ms)| Act::BotPlays(n, ms)),
        2 => some.clone().prop_map(Act::BotMarks),
        1 => some.clone().prop_map(Act::BotClears),
        2 => (some.clone(), prop::option::of(1000..1015_u16)).prop_map(|(n, code)| Act::BotCloses(n, code)),
        1 => some.clone().prop_map(Act::BotLost),
        1 => (some, ".{0,40}").prop_map(|(n, text)| Act::BotNonsense(n, text)),
        2 => (0..6_u8).prop_map(Act::NextDial),
        1 => (0..900_u64).prop_map(Act::Stall),
        1 => (0..30_u32, 0..80_u64).prop_map(|(loss, jitter)| Act::Weather(loss, jitter)),
        1 => any::<bool>().prop_map(Act::LoseAcks),
        1 => bytes().prop_map(Act::SipGarbage),
        1 => bytes().prop_map(Act::RtpGarbage),
        1 => Just(Act::ShutDown),
    ]
}

fn pickup(kind: u8) -> Pickup {
    use std::time::Duration;
    let soon = Duration::from_millis(10);
    match kind {
        0 => Pickup::Never,
        1 => Pickup::Fails(soon, DialFailure::Connect("refused".into())),
        2 => Pickup::Fails(soon, DialFailure::Http(503)),
        3 => Pickup::After(Duration::from_secs(4)),
        4 => Pickup::After(Duration::ZERO),
        _ => Pickup::After(Duration::from_millis(300)),
    }
}

fn perform(world: &mut World, act: Act) {
    let phones = world.pbx.phones.len();
    let bots = world.bots.sockets.len();
    let up = |world: &World, phone: usize| phone < phones && world.pbx.phones[phone].is_up();
    match act {
        Act::Wait(ms) => world.run(ms),
        Act::Dial { late, hold } if phones < 4 => {
            let mut plan = world.pbx.plan();
            if hold {
                plan.offer = plan.offer.map(|offer| Offer { direction: "sendonly", ..offer });
            }
            plan.offer = plan.offer.filter(|_| !late);
            world.dial(plan);
        }
        Act::Cancel(phone) if phone < phones => world.cancel(phone),
        Act::HangUp(phone) if up(world, phone) => world.hang_up(phone),
        Act::Reinvite { phone, direction, port } if up(world, phone) => {
            let old = world.pbx.phones[phone].plan.late_answer.clone().expect("a plan has one");
            let offer = Offer { port: old.port / 10 * 10 + 2 * port, ..old.then(direction) };
            reinvite(world, phone, Some(offer));
        }
        Act::ReinviteWithout(phone) if up(world, phone) => reinvite(world, phone, None),
        Act::Info(phone) if up(world, phone) => world.info(phone, "application/dtmf", "5"),
        Act::Digits(phone) if phone < phones => {
            world.phone(phone).media.send_digits("42");
        }
        Act::Speak(phone) if phone < phones => world.phone(phone).say(speech(0, 700)),
        Act::BotPlays(n, ms) if n < bots => world.bot_plays(n, &speech(0, ms)),
        Act::BotMarks(n) if n < bots => world.bot_marks(n, "m"),
        Act::BotClears(n) if n < bots => world.bot_clears(n),
        Act::BotCloses(n, code) if n < bots => world.bot_ends(n, SocketEnd::Close { code, reason: String::new() }),
        Act::BotLost(n) if n < bots => world.bot_ends(n, SocketEnd::MidFrame),
        Act::BotNonsense(n, text) if n < bots => world.bot_says(n, &serde_json::json!({"event": text, "media": text})),
        Act::NextDial(kind) => world.bots.plan.push_back(pickup(kind)),
        Act::Stall(ms) => world.stall(ms),
        Act::Weather(loss, jitter) => {
            (world.link.sip, world.link.rtp) = (Weather::rough(loss, jitter), Weather::rough(loss, jitter));
        }
        Act::LoseAcks(true) => world.link.lose_sip("ACK", usize::MAX),
        Act::LoseAcks(false) => world.link.lose_nothing(),
        Act::SipGarbage(bytes) => garbage(world, 5060, 5060, bytes),
        Act::RtpGarbage(bytes) => garbage(world, 40_000, 10_000, bytes),
        Act::ShutDown => world.shut_down(),
        _ => {}
    }
}

fn garbage(world: &mut World, from: u16, to: u16, bytes: Vec<u8>) {
    let address = |ip: &str, port: u16| std::net::SocketAddr::new(ip.parse().expect("an address"), port);
    let (from, to) = (address("198.51.100.1", from), address("192.0.2.10", to));
    world.link.send(world.now, super::world::link::Parcel { from, to, bytes });
}

/// A re-INVITE where one is possible; its answer is not waited for.
fn reinvite(world: &mut World, phone: usize, offer: Option<Offer>) {
    world.try_reinvite(phone, offer);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_ends_with_one_record_and_every_place_is_given_back(
        acts in prop::collection::vec(act(), 1..40),
        echo in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let steps = [
            voicebot("talk", "ws://first.test/", "next = \"second\"\nmax_duration_seconds = 60"),
            voicebot("second", "ws://second.test/?sample-rate=16000", "on_error = \"talk\"\nmax_duration_seconds = 30"),
        ];
        let scene = Scene {
            account: "max_streams = 3".into(),
            limits: "max_calls = 3".into(),
            trunk: "hold_timeout_seconds = 20".into(),
            media: "rtp_timeout_seconds = 20".into(),
            seed,
            ..Scene::steps(&steps)
        };
        let mut world = World::new(&scene);
        world.bots.manner = if echo { Manner::Echo } else { Manner::Quiet };
        for act in acts {
            perform(&mut world, act);
        }
        (world.link.sip, world.link.rtp) = (Weather::FAIR, Weather::FAIR);
        world.link.lose_nothing();
        world.run(40_000);
        for record in &world.bridge.records {
            prop_assert!(!record.end.by.is_empty(), "a record says who ended the call: {record:?}");
            prop_assert!(!record.streams.is_empty() || record.end.sip_code.is_some());
        }
        world.ends_clean();
    }
}
