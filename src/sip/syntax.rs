//! SIP's lexical layer: lists, parameters, quoted strings (RFC 3261 section 25.1).

/// Splits `text` at `separator`, leaving quoted strings and `<…>` whole. Items are trimmed, empty ones kept.
pub fn split_outside(text: &str, separator: char) -> Vec<&str> {
    let (mut items, mut start) = (Vec::new(), 0);
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            _ if c == separator && !quoted && !bracketed => {
                items.push(text[start..at].trim());
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    items.push(text[start..].trim());
    items
}

/// The items of a comma-joined header value, empty ones dropped (SIP-008).
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    split_outside(value, ',').into_iter().filter(|item| !item.is_empty())
}

/// Reads a quoted string at the start of `text`: its unescaped content and what follows it.
pub fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let (mut content, mut escaped) = (String::new(), false);
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => {
                content.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((content, &inner[at + 1..])),
            _ => content.push(c),
        }
    }
    None
}

/// Whether `text` is a token: header names, methods, parameter names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b))
}

/// `;name` and `;name=value` parameters in order; names compare without case, values are unquoted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Reads what follows the first `;`. `None` where a parameter is empty (one trailing `;` is forgiven), its name
    /// is missing or a quote stays open.
    pub fn parse(text: &str) -> Option<Self> {
        let mut items = split_outside(text, ';');
        if items.last().is_some_and(|last| last.is_empty()) {
            items.pop();
        }
        items.into_iter().map(parameter).collect::<Option<Vec<_>>>().map(Self)
    }

    /// The value of `name`; `None` where it is missing or has none.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_deref()
    }

    /// Whether `name` is present, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key.eq_ignore_ascii_case(name))
    }
}

fn parameter(item: &str) -> Option<(String, Option<String>)> {
    let Some((name, value)) = item.split_once('=') else {
        return (!item.is_empty() && !item.contains('"')).then(|| (item.to_owned(), None));
    };
    let (name, value) = (name.trim(), value.trim());
    let value = match quoted(value) {
        Some((content, rest)) => rest.trim().is_empty().then_some(content)?,
        None if value.contains('"') => return None,
        None => value.to_owned(),
    };
    (!name.is_empty()).then(|| (name.to_owned(), Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_008_commas_in_quotes_and_brackets_do_not_split() {
        let value = r#""Doe, \"J\"" <sip:a,b@h>;q=1 , <sip:c@d>,, x"#;
        let items: Vec<_> = list(value).collect();
        assert_eq!(items, [r#""Doe, \"J\"" <sip:a,b@h>;q=1"#, "<sip:c@d>", "x"]);
    }

    #[test]
    fn parameters_are_unquoted_and_found_in_any_case() {
        let params = Params::parse(r#" tag = abc ; lr; text="a;\"b" ;"#).expect("well formed");
        assert_eq!(params.value("TAG"), Some("abc"));
        assert_eq!(params.value("text"), Some("a;\"b"));
        assert!(params.has("lr") && params.value("lr").is_none() && !params.has("l"));
    }

    #[test]
    fn empty_parameters_and_open_quotes_are_malformed() {
        for bad in [";;", "a;;b", "=x", "t=\"open"] {
            assert_eq!(Params::parse(bad), None, "{bad}");
        }
    }
}
