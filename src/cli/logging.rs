//! How log lines look and which are written. The home of `tracing_subscriber`.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Json, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, filter::filter_fn};

use crate::config::LogFormat;
use crate::server::records;

/// Below info the WebSocket library writes what it sends as it stands: Authorization, numbers, headers. No filter turns
/// that on.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let talkative = ["tungstenite", "tokio_tungstenite"].iter().any(|library| metadata.target().starts_with(library));
    !talkative || *metadata.level() <= Level::INFO
}

/// Starts logging to standard error.
pub(super) fn start(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_from_env("TRUNKSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).map_event_format(JsonLines).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(is_discreet))).try_init();
}

/// JSON lines in which a call record is an object, not a text with an object in it.
struct JsonLines<T>(Format<Json, T>);

impl<S, N, T> FormatEvent<S, N> for JsonLines<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut record = Record::default();
        if event.metadata().target() == records::TARGET {
            event.record(&mut record);
        }
        let Record(Some(json)) = record else { return self.0.format_event(ctx, writer, event) };
        write!(writer, "{{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        let (level, target) = (event.metadata().level(), event.metadata().target());
        writeln!(
            writer,
            "\",\"level\":\"{level}\",\"target\":\"{target}\",\"message\":\"call record\",\"record\":{json}}}"
        )
    }
}

/// The JSON text in an event's field `record`.
#[derive(Default)]
struct Record(Option<String>);

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == records::FIELD {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
