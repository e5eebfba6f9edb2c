//! Rust text with everything taken out that is not code the program runs.

/// The text without comments, and with every string and character literal emptied.
pub(crate) fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(length) = literal_length(rest, out.chars().next_back()) {
            out.extend(rest[..length].matches('\n'));
            out.push(' ');
            rest = &rest[length..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    out
}

/// How many bytes the comment or literal takes that `rest` begins with; `before` is the character in front of it.
fn literal_length(rest: &str, before: Option<char>) -> Option<usize> {
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    if let Some(string) = rest.strip_prefix('"') {
        return Some(1 + closing(string, '"'));
    }
    if rest.starts_with('r') && !before.is_some_and(|c| c.is_alphanumeric() || c == '_') || rest.starts_with("br") {
        let hashes = rest.trim_start_matches('b')[1..].chars().take_while(|c| *c == '#').count();
        let start = rest.find('r').unwrap_or(0) + 1 + hashes;
        if rest[start..].starts_with('"') {
            return Some(until(start + 1, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    if let Some(after) = rest.strip_prefix('\'') {
        // A character, not a lifetime: its quote closes after one character or an escape.
        let one = after.chars().next()?;
        if one == '\\' || after[one.len_utf8()..].starts_with('\'') {
            return Some(1 + closing(after, '\''));
        }
    }
    None
}

/// Bytes up to and with the unescaped `quote`.
fn closing(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bare code without the items that stand under `#[cfg(test)]`.
pub(crate) fn without_tests(code: &str) -> String {
    let Some(at) = code.find("#[cfg(test)]") else { return code.to_owned() };
    let item = &code[at..];
    let mut depth = 0_i32;
    let end = item.char_indices().skip("#[cfg(test)]".len()).find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0 && matches!(c, '}' | ';')).then_some(at + 1)
    });
    code[..at].to_owned() + &without_tests(&item[end.unwrap_or(item.len())..])
}

#[test]
fn comments_strings_and_characters_are_emptied_and_lifetimes_are_not() {
    let text = "a // x\n/* y */ b(\"c \\\" d\", r#\"e \" f\"#, b\"g\", '\"', '\\'', b'h') &'i j";
    let said: Vec<String> = bare(text).split_whitespace().map(str::to_owned).collect();
    assert_eq!(said.join(" "), "a b( , , b , , , b ) &'i j");
}

#[test]
fn items_under_cfg_test_are_cut_out_whole() {
    let code = "a #[cfg(test)] mod tests { fn f() { } } b #[cfg(test)] mod c; d";
    let left: Vec<String> = without_tests(code).split_whitespace().map(str::to_owned).collect();
    assert_eq!(left.join(" "), "a b d");
}
