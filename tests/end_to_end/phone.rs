//! A telephone that speaks just enough SIP, written from the RFC's text alone: it shares no line with the bridge, and
//! sees every header as it is on the wire. It sends no sound.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use crate::bridge::{ACCOUNT, next};
use crate::within;

/// The calling number.
pub const CALLER: &str = "09876543210";

/// A SIP message, taken apart.
#[derive(Debug, Clone)]
pub struct Message {
    /// Request or status line.
    pub start: String,
    headers: Vec<(String, String)>,
}

impl Message {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).expect("SIP is UTF-8");
        let head = text.split("\r\n\r\n").next().unwrap_or_default();
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Self { start, headers: lines.filter_map(header).collect() }
    }

    /// The status; 0 for a request.
    pub fn code(&self) -> u16 {
        self.start
            .strip_prefix("SIP/2.0 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .unwrap_or(0)
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Status and `Reason`, the two that a PBX routes on.
    pub fn verdict(&self) -> (u16, &str) {
        (self.code(), self.header("Reason").unwrap_or_default())
    }

    /// The route set that a 2xx gives its caller: Record-Route, the last first.
    fn routes(&self) -> String {
        let recorded = self.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Record-Route"));
        let mut routes: Vec<&str> = recorded.flat_map(|(_, value)| value.split(',')).map(str::trim).collect();
        routes.reverse();
        routes.iter().map(|route| format!("Route: {route}\r\n")).collect()
    }

    /// How many lines of a header there are.
    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).count()
    }

    fn all(&self, name: &str) -> String {
        let found = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }
}

/// A telephone with one line.
pub struct Phone {
    socket: UdpSocket,
    rtp: UdpSocket,
    bridge: SocketAddr,
    call_id: String,
    to: String,
    contact: String,
    /// The route set as header lines (RFC 3261, 12.1.2).
    routes: String,
    cseq: u32,
}

impl Phone {
    /// A telephone that calls `bridge`.
    pub async fn new(bridge: SocketAddr) -> Self {
        Self::at("127.0.0.1:0", bridge).await
    }

    /// The same with an address of its own.
    pub async fn at(own: &str, bridge: SocketAddr) -> Self {
        let bind = || UdpSocket::bind(own);
        Self {
            socket: bind().await.expect("a port"),
            rtp: bind().await.expect("a port"),
            bridge,
            call_id: String::new(),
            to: String::new(),
            contact: String::new(),
            routes: String::new(),
            cseq: 0,
        }
    }

    /// Calls `number` and waits for the final answer, which is acknowledged.
    pub async fn call(&mut self, number: &str) -> Message {
        self.call_with(number, "").await
    }

    /// The same with further header lines.
    pub async fn call_with(&mut self, number: &str, headers: &str) -> Message {
        let branch = self.dial(number, headers).await;
        let answer = self.final_answer("INVITE").await;
        if let Some(to) = answer.header("To") {
            self.to = to.to_owned();
        }
        self.routes = if answer.code() < 300 { answer.routes() } else { String::new() };
        let contact = answer.header("Contact").map(|contact| contact.trim_matches(['<', '>']).to_owned());
        self.contact = contact.unwrap_or(std::mem::take(&mut self.contact));
        self.acknowledge(&answer, branch).await;
        answer
    }

    /// Calls `number`, waits until it rings and takes the call back; what CANCEL and INVITE were answered.
    pub async fn give_up(&mut self, number: &str) -> (u16, u16) {
        let branch = self.dial(number, "").await;
        within(10, "it rings", async { while self.receive().await.code() != 180 {} }).await;
        self.write("CANCEL", &branch, "", "").await;
        let (mut cancelled, mut refused) = (0, 0);
        within(10, "CANCEL and INVITE are answered", async {
            while cancelled == 0 || refused == 0 {
                let message = self.receive().await;
                let of = |method: &str| message.header("CSeq").is_some_and(|cseq| cseq.ends_with(method));
                match message.code() {
                    code @ 200.. if of("CANCEL") => cancelled = code,
                    code @ 200.. if of("INVITE") => {
                        refused = code;
                        self.to = message.header("To").unwrap_or_default().to_owned();
                        self.acknowledge(&message, branch.clone()).await;
                    }
                    _ => {}
                }
            }
        })
        .await;
        (cancelled, refused)
    }

    /// Sends an INVITE; its branch.
    async fn dial(&mut self, number: &str, headers: &str) -> String {
        self.call_id = format!("call-{}-{}@e2e", std::process::id(), next());
        self.to = format!("<sip:{number}@{}>", self.bridge);
        self.contact = format!("sip:{number}@{}", self.bridge);
        self.routes.clear();
        let (more, sdp) = self.offer("");
        let headers = format!("X-Exotel-AccountSid: {ACCOUNT}\r\n{headers}{more}");
        self.send("INVITE", &headers, &sdp).await
    }

    /// Says the rest of the call to another address than it was begun with.
    pub fn misdirect(&mut self, bridge: SocketAddr) {
        self.routes.clear();
        self.bridge = bridge;
    }

    /// Holds the call by a re-INVITE; its answer, acknowledged.
    pub async fn hold(&mut self) -> Message {
        let (headers, sdp) = self.offer("a=sendonly\r\n");
        let branch = self.send("INVITE", &headers, &sdp).await;
        let answer = self.final_answer("INVITE").await;
        self.acknowledge(&answer, branch).await;
        answer
    }

    /// The ACK of a 2xx is a transaction of its own (RFC 3261, 13.2.2.4), any other belongs to its INVITE's.
    async fn acknowledge(&self, answer: &Message, branch: String) {
        let branch = if answer.code() < 300 { new_branch() } else { branch };
        self.write("ACK", &branch, "", "").await;
    }

    /// The header lines and the SDP of an offer, with further lines for its media.
    fn offer(&self, lines: &str) -> (String, String) {
        let local = self.socket.local_addr().expect("bound");
        let port = self.rtp.local_addr().expect("bound").port();
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
             a=rtpmap:101 telephone-event/8000\r\n{lines}"
        );
        (format!("Contact: <sip:phone@{local}>\r\nContent-Type: application/sdp\r\n"), sdp)
    }

    /// Sends a request outside or inside of the call and waits for its answer.
    pub async fn request(&mut self, method: &str) -> Message {
        if self.call_id.is_empty() {
            self.call_id = format!("call-{}-{}@e2e", std::process::id(), next());
            (self.to, self.contact) = (format!("<sip:{}>", self.bridge), format!("sip:{}", self.bridge));
        }
        self.send(method, "", "").await;
        self.final_answer(method).await
    }

    /// Waits for a request of the bridge and answers it with 200.
    pub async fn expect(&mut self, method: &str) -> Message {
        let message = self.unanswered(method).await;
        let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| message.all(name)).concat();
        self.say(&format!("SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")).await;
        message
    }

    /// Waits for a request of the bridge and says nothing.
    pub async fn unanswered(&mut self, method: &str) -> Message {
        within(10, method, async {
            loop {
                let message = self.receive().await;
                if message.start.starts_with(method) {
                    return message;
                }
            }
        })
        .await
    }

    /// The cause with which the bridge hangs up.
    pub async fn hung_up(&mut self) -> String {
        self.expect("BYE").await.header("Reason").unwrap_or_default().to_owned()
    }

    async fn final_answer(&mut self, method: &str) -> Message {
        let cseq = format!("{} {method}", self.cseq);
        within(15, &format!("an answer to {method}"), async {
            loop {
                let message = self.receive().await;
                if message.code() >= 200 && message.header("CSeq") == Some(cseq.as_str()) {
                    return message;
                }
            }
        })
        .await
    }

    async fn receive(&mut self) -> Message {
        let mut datagram = vec![0; 65_535];
        let (length, _) = self.socket.recv_from(&mut datagram).await.expect("the bridge's port is open");
        Message::parse(&datagram[..length])
    }

    async fn send(&mut self, method: &str, headers: &str, body: &str) -> String {
        self.cseq += 1;
        let branch = new_branch();
        self.write(method, &branch, headers, body).await;
        branch
    }

    async fn write(&self, method: &str, branch: &str, headers: &str, body: &str) {
        let (local, call_id) = (self.socket.local_addr().expect("bound"), &self.call_id);
        // A tag is a token (RFC 3261, 25.1): proxies put it into URIs.
        let tag = call_id.replace('@', "-");
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP {local};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:{CALLER}@{local}>;tag={tag}\r\nTo: {}\r\nCall-ID: {call_id}\r\nCSeq: {} {method}\r\n\
             {}{headers}Content-Length: {}\r\n\r\n{body}",
            self.contact,
            self.to,
            self.cseq,
            self.routes,
            body.len()
        );
        self.say(&text).await;
    }

    async fn say(&self, text: &str) {
        self.socket.send_to(text.as_bytes(), self.bridge).await.expect("loopback takes it");
    }
}

fn new_branch() -> String {
    format!("z9hG4bK-e2e-{}-{}", std::process::id(), next())
}
