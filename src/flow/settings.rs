//! From a step's table to an applet's settings, with the key at fault and what was expected of it.

use schemars::{JsonSchema, Schema};

use super::applet::{Applet, UrlCheck, Wrong};

/// The schema of an applet's settings.
pub(super) fn schema<A: Applet>() -> Schema {
    <A::Settings as JsonSchema>::json_schema(&mut inline())
}

/// Reads and checks a step's settings.
pub(super) fn read<A: Applet>(table: toml::Table, url: UrlCheck<'_>) -> Result<A, Vec<Wrong>> {
    match serde_path_to_error::deserialize::<_, A::Settings>(table) {
        Ok(settings) => A::check(settings, url),
        Err(error) => Err(vec![wrong::<A>(&error)]),
    }
}

/// Subschemas stand where they are used: the choices of a setting are beside its description.
fn inline() -> schemars::SchemaGenerator {
    schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into()
}

fn wrong<A: Applet>(error: &serde_path_to_error::Error<toml::de::Error>) -> Wrong {
    let message = error.inner().message().trim();
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        let message = format!("is missing; expected: {}", described::<A>(key).unwrap_or_else(|| "a value".to_owned()));
        return Wrong { key: key.to_owned(), message };
    }
    let key = match error.path().iter().next() {
        Some(serde_path_to_error::Segment::Map { key }) => key.clone(),
        _ => String::new(),
    };
    let message = message.replace("unknown field", "unknown setting").replace("unknown variant", "unknown value");
    let message = match described::<A>(&key) {
        Some(description) => format!("{message} ({description})"),
        None => message,
    };
    Wrong { key, message }
}

/// The first line of a setting's doc comment.
fn described<A: Applet>(key: &str) -> Option<String> {
    let schema = schema::<A>();
    let description = schema.get("properties")?.get(key)?.get("description")?.as_str()?;
    Some(description.split("\n\n").next()?.replace('\n', " ").trim_end_matches('.').to_owned())
}
