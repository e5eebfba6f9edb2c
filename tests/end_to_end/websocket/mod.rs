//! The bridge's side of the bot's WebSocket: how it is dialled, spoken to, and how it ends.

mod dialling;
mod ending;
mod talking;
mod tls;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::bot::{Bot, Port};
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::phone::Phone;

/// A call that is up, from both ends.
struct Talk {
    bridge: Bridge,
    phone: Phone,
    bot: Bot<TcpStream>,
    start: Value,
}

impl Talk {
    /// A bridge, a caller, and a bot that has been told `start`.
    async fn begin() -> Self {
        Self::begin_at(Port::open().await).await
    }

    /// The same with the bot behind `port`.
    async fn begin_at(port: Port) -> Self {
        let bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
        let mut phone = Phone::new(bridge.sip).await;
        let (answer, mut bot) = tokio::join!(phone.call(NUMBER), port.bot());
        assert_eq!(answer.code(), 200);
        let start = bot.event("start").await;
        Self { bridge, phone, bot, start }
    }
}

/// Status, `DisconnectedBy` and `Error` of a stream.
fn verdict(stream: &Value) -> (&str, &str, &str) {
    let text = |key: &str| stream[key].as_str().unwrap_or_default();
    (text("Status"), text("DisconnectedBy"), text("Error"))
}
