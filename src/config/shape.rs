//! The first look at a file: is it TOML, are its keys known, do its values have the type and range of the schema?
//!
//! Whatever is wrong is noted and left out, so that the second look (`resolve`) can judge the rest and an operator sees
//! every problem at once.

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw::{self, Raw};
use super::report::{Report, nearest};

/// Keys by which an operator knows a table among its siblings.
const NAMING_KEYS: [&str; 4] = ["sid", "name", "number", "id"];

/// Reads the text. `None` where it is not TOML at all; otherwise what could be read, all problems in the report.
pub(super) fn read(text: &str, report: &mut Report) -> Option<Raw> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut last_line = 0;
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let line = report.line_of(offset);
        if line != last_line {
            report.wrong_at(offset, "syntax", error.message().trim());
            last_line = line;
        }
    }
    if !errors.is_empty() {
        return None;
    }
    let schema = raw::schema();
    let table = Walk { report }.table(schema.as_value(), table.get_ref(), "");
    match table.try_into() {
        Ok(raw) => Some(raw),
        Err(error) => {
            report.wrong_at(0, "file", error.to_string());
            None
        }
    }
}

struct Walk<'a> {
    report: &'a mut Report,
}

impl Walk<'_> {
    fn table(&mut self, schema: &Json, table: &DeTable<'_>, path: &str) -> toml::Table {
        let mut read = toml::Table::new();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let at = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let shown = if path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.report.shown(path)) };
            self.report.mark(&at, shown, key.span().start);
            match property(schema, name) {
                Some(schema) => read.extend(self.value(schema, value, &at).map(|value| (name.to_owned(), value))),
                None => self.unknown(schema, name, &at),
            }
        }
        self.missing(schema, table, path);
        read
    }

    fn unknown(&mut self, schema: &Json, name: &str, path: &str) {
        let known: Vec<&str> = properties(schema).map(|(name, _)| name.as_str()).collect();
        let hint = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of {}", known.join(", ")),
        };
        self.report.wrong(path, format!("unknown key; {hint}"));
    }

    fn missing(&mut self, schema: &Json, table: &DeTable<'_>, path: &str) {
        for (name, property) in properties(schema) {
            if property.get("x-required").is_some() && !table.iter().any(|(key, _)| key.get_ref() == name) {
                let example = example(property).map(|example| format!(", for example {example}"));
                self.report.wrong(&format!("{path}.{name}"), format!("is missing{}", example.unwrap_or_default()));
            }
        }
    }

    fn value(&mut self, schema: &Json, value: &Spanned<DeValue<'_>>, path: &str) -> Option<toml::Value> {
        let kind = kind(schema);
        match (kind, value.get_ref()) {
            ("any", value) => Some(plain(value)),
            ("object", DeValue::Table(table)) => Some(toml::Value::Table(self.table(schema, table, path))),
            ("array", DeValue::Array(items)) => {
                let schema = schema.get("items").unwrap_or(&Json::Bool(true));
                let read = items.iter().enumerate().filter_map(|(i, item)| self.item(schema, item, path, i));
                Some(toml::Value::Array(read.collect()))
            }
            ("string", DeValue::String(text)) => self.string(schema, text, path),
            ("integer", DeValue::Integer(number)) => {
                let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
                self.integer(schema, number, path)
            }
            ("boolean", DeValue::Boolean(value)) => Some(toml::Value::Boolean(*value)),
            (_, found) => {
                self.report.wrong(path, format!("expected {}, found {}", expected(schema, path), found_name(found)));
                None
            }
        }
    }

    fn item(&mut self, schema: &Json, item: &Spanned<DeValue<'_>>, path: &str, i: usize) -> Option<toml::Value> {
        let at = format!("{path}[{i}]");
        let mut shown = self.report.shown(path);
        if let DeValue::Table(table) = item.get_ref() {
            shown = match table_name(table) {
                Some(name) => format!("{shown}.{name}"),
                None => format!("{shown}[{}]", i + 1),
            };
        }
        self.report.mark(&at, shown, item.span().start);
        // A table with a problem stays in the list, so that positions in the file and in the list agree.
        self.value(schema, item, &at).or_else(|| (kind(schema) == "object").then(|| toml::Table::new().into()))
    }

    fn string(&mut self, schema: &Json, text: &str, path: &str) -> Option<toml::Value> {
        let choices = choices(schema);
        if choices.is_empty() || choices.contains(&text) {
            return Some(toml::Value::String(text.to_owned()));
        }
        let quoted: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        self.report.wrong(path, format!("expected one of {}, found \"{text}\"", quoted.join(", ")));
        None
    }

    fn integer(&mut self, schema: &Json, number: Option<i64>, path: &str) -> Option<toml::Value> {
        let bound = |name: &str, default| schema.get(name).and_then(Json::as_i64).unwrap_or(default);
        let (min, max) = (bound("minimum", i64::MIN), bound("maximum", i64::MAX));
        if let Some(number) = number.filter(|number| (min..=max).contains(number)) {
            return Some(toml::Value::Integer(number));
        }
        let found = number.map_or("a number far too large".to_owned(), |number| number.to_string());
        self.report.wrong(path, format!("expected a whole number from {min} to {max}, found {found}"));
        None
    }
}

fn table_name<'a>(table: &'a DeTable<'_>) -> Option<&'a str> {
    let named = |naming: &str| table.iter().find(|(key, _)| key.get_ref() == naming).map(|(_, value)| value.get_ref());
    let text = |value: &'a DeValue<'_>| value.as_str().filter(|text| !text.is_empty());
    NAMING_KEYS.into_iter().find_map(|naming| named(naming).and_then(text))
}

/// The keys a schema names.
pub(super) fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema.get("properties").and_then(Json::as_object).into_iter().flatten()
}

fn property<'a>(schema: &'a Json, name: &str) -> Option<&'a Json> {
    let named = schema.get("properties").and_then(|properties| properties.get(name));
    named.or_else(|| schema.get("additionalProperties").filter(|other| **other != Json::Bool(false)))
}

/// The JSON type of a schema, `null` apart; `any` where it has none.
fn kind(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(kind)) => kind,
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|kind| *kind != "null").unwrap_or("any"),
        _ if !choices(schema).is_empty() => "string",
        _ => "any",
    }
}

/// The words a schema allows; empty where any text may stand.
pub(super) fn choices(schema: &Json) -> Vec<&str> {
    let words = |list: &'static str| schema.get(list).and_then(Json::as_array).into_iter().flatten();
    let described = words("oneOf").filter_map(|choice| choice.get("const"));
    words("enum").chain(described).filter_map(Json::as_str).collect()
}

/// The example of a key, as TOML writes it.
pub(super) fn example(schema: &Json) -> Option<String> {
    let example = schema.get("examples").and_then(|examples| examples.get(0))?;
    toml::Value::try_from(example).ok().map(|value| value.to_string())
}

fn expected(schema: &Json, path: &str) -> String {
    match kind(schema) {
        "object" => format!("a table: [{path}]"),
        "array" if schema.get("items").is_some_and(|items| kind(items) == "object") => {
            format!("a list of tables: [[{path}]]")
        }
        "array" => "a list: [\"…\"]".to_owned(),
        "string" => "text in quotes".to_owned(),
        "integer" => "a whole number".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}

fn found_name(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the text \"{text}\""),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A value without its places. A number TOML cannot hold becomes its text, for which no applet asks.
fn plain(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| toml::Value::String(number.to_string()), toml::Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| toml::Value::String(number.as_str().to_owned()), toml::Value::Float)
        }
        DeValue::Boolean(value) => toml::Value::Boolean(*value),
        DeValue::Datetime(value) => toml::Value::Datetime(*value),
        DeValue::Array(items) => items.iter().map(|item| plain(item.get_ref())).collect::<Vec<_>>().into(),
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), plain(value.get_ref())));
            toml::Value::Table(entries.collect())
        }
    }
}
