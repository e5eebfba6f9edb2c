//! The bots: scripted AgentStream peers at the far end of the bridge's WebSockets.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use base64_simd::STANDARD;
use serde_json::{Value, json};
use trunkstream::call::Dial;
use trunkstream::call::outcome::DialFailure;
use trunkstream::stream::SocketEnd;

use super::bridge::{StreamId, ToBot};

/// One way over the WebSocket.
const LATENCY: Duration = Duration::from_millis(1);

/// How a dial goes.
#[derive(Debug, Clone)]
pub enum Pickup {
    After(Duration),
    Fails(Duration, DialFailure),
    /// The deadline of the dial passes.
    Never,
}

/// What a bot does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Quiet,
    /// Every media message comes back at once.
    Echo,
}

/// What reaches the bridge.
#[derive(Debug)]
pub enum FromBot {
    Opened,
    DialFailed(DialFailure),
    Text(String),
    Closed(SocketEnd),
}

/// One WebSocket, from the dial to its end.
pub struct Socket {
    pub id: StreamId,
    pub dial: Box<Dial>,
    pub opened: Option<Instant>,
    /// Every message and when it came.
    pub heard: Vec<(Instant, Value)>,
    /// When and with which code the bridge closed; before `opened` it gave the dial up.
    pub closed: Option<(Instant, u16)>,
    /// The bot closed, or the connection was lost.
    gone: bool,
}

impl Socket {
    /// Messages of one event.
    pub fn events<'a>(&'a self, event: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        let event = event.to_owned();
        self.heard.iter().map(|(_, message)| message).filter(move |message| message["event"] == event.as_str())
    }

    pub fn count(&self, event: &str) -> usize {
        self.events(event).count()
    }

    pub fn last(&self, event: &str) -> &Value {
        self.events(event).last().unwrap_or_else(|| panic!("the bot heard no {event}"))
    }

    /// When the last message of this event came.
    pub fn when(&self, event: &str) -> Instant {
        self.heard.iter().rfind(|(_, message)| message["event"] == event).expect("such a message").0
    }

    /// Names of the marks returned, in order.
    pub fn marks(&self) -> Vec<String> {
        self.events("mark").filter_map(|mark| mark["mark"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// Digits, in order.
    pub fn digits(&self) -> String {
        self.events("dtmf").filter_map(|dtmf| dtmf["dtmf"]["digit"].as_str()).collect()
    }

    /// All caller audio so far, samples.
    pub fn audio(&self) -> Vec<i16> {
        self.events("media").flat_map(samples).collect()
    }

    pub fn start(&self) -> &Value {
        &self.last("start")["start"]
    }
}

/// The samples of a media message.
pub fn samples(media: &Value) -> Vec<i16> {
    let text = media["media"]["payload"].as_str().expect("a payload");
    let bytes = STANDARD.decode_to_vec(text).expect("base64");
    bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// A media message as bots write it.
pub fn media(pcm: &[i16]) -> Value {
    let bytes: Vec<u8> = pcm.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    json!({"event": "media", "stream_sid": "s", "media": {"payload": STANDARD.encode_to_string(bytes)}})
}

/// See the module.
pub struct Bots {
    pub manner: Manner,
    /// How the next dials go; then `otherwise`.
    pub plan: VecDeque<Pickup>,
    pub otherwise: Pickup,
    /// In the order of their dials.
    pub sockets: Vec<Socket>,
    acts: BTreeMap<(Instant, u64), (StreamId, FromBot)>,
    serial: u64,
}

impl Bots {
    pub fn new() -> Self {
        Self {
            manner: Manner::Quiet,
            plan: VecDeque::new(),
            otherwise: Pickup::After(Duration::from_millis(40)),
            sockets: Vec::new(),
            acts: BTreeMap::new(),
            serial: 0,
        }
    }

    pub fn told(&mut self, now: Instant, id: StreamId, what: ToBot) {
        match what {
            ToBot::Dial(dial) => self.dialled(now, id, dial),
            ToBot::Text(text) => self.hear(now, id, &text),
            ToBot::Close(code) => {
                if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == id) {
                    socket.closed.get_or_insert((now, code));
                    if socket.opened.is_none() {
                        // The dial is dropped: nothing of it is ever heard again.
                        self.acts.retain(|_, (of, _)| *of != id);
                    } else if !socket.gone {
                        socket.gone = true;
                        self.act(
                            now,
                            id,
                            FromBot::Closed(SocketEnd::Close { code: Some(code), reason: String::new() }),
                        );
                    }
                }
            }
        }
    }

    fn dialled(&mut self, now: Instant, id: StreamId, dial: Box<Dial>) {
        let pickup = self.plan.pop_front().unwrap_or_else(|| self.otherwise.clone());
        let (after, act) = match pickup {
            Pickup::After(after) => (after, FromBot::Opened),
            Pickup::Fails(after, failure) => (after, FromBot::DialFailed(failure)),
            Pickup::Never => (dial.deadline, FromBot::DialFailed(DialFailure::Timeout(dial.deadline.as_secs()))),
        };
        let socket = Socket { id, dial, opened: None, heard: Vec::new(), closed: None, gone: false };
        self.sockets.push(socket);
        self.act(now + after, id, act);
    }

    fn hear(&mut self, now: Instant, id: StreamId, text: &str) {
        let message: Value = serde_json::from_str(text).expect("the bridge writes JSON");
        let socket = self.sockets.iter_mut().find(|socket| socket.id == id).expect("a dialled stream");
        assert!(socket.closed.is_none() && socket.opened.is_some(), "{text} to a socket that is not open");
        let echo = self.manner == Manner::Echo && message["event"] == "media";
        let answer = echo.then(|| media(&samples(&message)));
        socket.heard.push((now, message));
        if let Some(answer) = answer {
            self.say(now, id, &answer);
        }
    }

    /// The bot of `id` says this.
    pub fn say(&mut self, now: Instant, id: StreamId, message: &Value) {
        self.act(now, id, FromBot::Text(message.to_string()));
    }

    /// The bot of `id` closes, or is lost.
    pub fn close(&mut self, now: Instant, id: StreamId, end: SocketEnd) {
        if let Some(socket) = self.sockets.iter_mut().find(|socket| socket.id == id && !socket.gone) {
            socket.gone = true;
            self.act(now, id, FromBot::Closed(end));
        }
    }

    fn act(&mut self, at: Instant, id: StreamId, act: FromBot) {
        self.serial += 1;
        self.acts.insert((at + LATENCY, self.serial), (id, act));
    }

    pub fn next(&self) -> Option<Instant> {
        self.acts.first_key_value().map(|((at, _), _)| *at)
    }

    /// Something a bot did that has reached the bridge.
    pub fn arrived(&mut self, now: Instant) -> Option<(StreamId, FromBot)> {
        let first = self.acts.first_entry()?;
        let (id, act) = (first.key().0 <= now).then(|| first.remove())?;
        let socket = self.sockets.iter_mut().find(|socket| socket.id == id).expect("a dialled stream");
        match &act {
            FromBot::Opened => socket.opened = Some(now),
            FromBot::DialFailed(_) => socket.gone = true,
            FromBot::Text(_) | FromBot::Closed(_) => {}
        }
        Some((id, act))
    }
}
