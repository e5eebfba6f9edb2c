//! config/reference.toml: every key with its text, its default commented out.
//!
//! Generated from the doc comments of `raw` and of the applets' settings; a test compares. A line `#key = value` is a
//! setting to uncomment, a line `# text` is text.

use std::fmt::Write as _;

use schemars::Schema;
use serde_json::Value as Json;

use super::{raw, shape};

/// The widest line of text.
const WIDTH: usize = 120;

const HEAD: &str = "Every key of a Trunkstream configuration. A line that begins with `#` and a word is a setting at its default, \
                    or at an example where the text says that there is none; remove the `#` to use it. What must be given is marked. \
                    `trunkstream check --config FILE` says what is wrong with a file, with line and key.";

/// The text of config/reference.toml. `applets` are the names of the applets and the schemas of their settings.
#[must_use]
pub fn toml(applets: &[(&str, Schema)]) -> String {
    let mut out = String::new();
    comment(&mut out, HEAD);
    let schema = raw::schema();
    for (name, section) in shape::properties(schema.as_value()) {
        match section.get("items") {
            Some(entry) => table(&mut out, &format!("#[[{name}]]"), entry),
            None => table(&mut out, &format!("#[{name}]"), section),
        }
    }
    for (name, schema) in applets {
        let applet = format!("#[flow.step.{name}]\n#applet = \"{name}\"");
        table(&mut out, &applet, &inlined(schema));
    }
    out
}

fn table(out: &mut String, header: &str, schema: &Json) {
    out.push('\n');
    comment(out, text(schema));
    let _ = writeln!(out, "{header}");
    let required = schema.get("required").and_then(Json::as_array);
    for (key, schema) in shape::properties(schema) {
        if schema.get("additionalProperties").is_none() {
            let listed = required.is_some_and(|required| required.iter().any(|name| name.as_str() == Some(key)));
            setting(out, key, schema, listed || schema.get("x-required").is_some());
        }
    }
}

fn setting(out: &mut String, key: &str, schema: &Json, required: bool) {
    let mut about = text(schema).to_owned();
    if required {
        about.push_str(" Required.");
    }
    if let (Some(min), Some(max)) = (schema.get("minimum"), schema.get("maximum")) {
        let _ = write!(about, " {min} to {max}.");
    }
    comment(out, &about);
    for choice in schema.get("oneOf").and_then(Json::as_array).into_iter().flatten() {
        let word = choice.get("const").and_then(Json::as_str).unwrap_or_default();
        comment(out, &format!("  \"{word}\": {}", text(choice)));
    }
    let default = schema.get("default").filter(|default| !default.is_null() && !required);
    let value = default.and_then(|default| toml::Value::try_from(default).ok()).map(|value| value.to_string());
    let value = value.or_else(|| shape::example(schema)).unwrap_or_else(|| "\"\"".to_owned());
    let mark = if schema.get("x-instead-of").is_some() { "# " } else { "#" };
    let _ = writeln!(out, "{mark}{key} = {value}");
}

/// The doc comment of a schema.
fn text(schema: &Json) -> &str {
    schema.get("description").and_then(Json::as_str).unwrap_or_default()
}

/// A schema whose properties name their definitions outright.
fn inlined(schema: &Schema) -> Json {
    let root = schema.as_value().clone();
    let mut inlined = root.clone();
    let properties = inlined.get_mut("properties").and_then(Json::as_object_mut);
    for property in properties.into_iter().flat_map(serde_json::Map::values_mut) {
        let target =
            property.get("$ref").and_then(Json::as_str).and_then(|path| root.pointer(path.trim_start_matches('#')));
        if let (Some(Json::Object(target)), Some(own)) = (target, property.as_object_mut()) {
            for (key, value) in target {
                own.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
    inlined
}

/// Writes text as comment lines, at most [`WIDTH`] wide; leading blanks of the text indent every line.
fn comment(out: &mut String, text: &str) {
    let indent = &text[..text.len() - text.trim_start().len()];
    let mut line = format!("# {indent}");
    let empty = line.len();
    for word in text.split_whitespace() {
        if line.chars().count() + word.chars().count() > WIDTH && line.len() > empty {
            let _ = writeln!(out, "{}", line.trim_end());
            line.truncate(empty);
        }
        line.push_str(word);
        line.push(' ');
    }
    if line.len() > empty {
        let _ = writeln!(out, "{}", line.trim_end());
    }
}
