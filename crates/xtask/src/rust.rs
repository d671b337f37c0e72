//! A minimal lexer of Rust, so rules apply to code and not to comments and literals.

/// Replaces comments and literals by spaces. Keeps the line breaks.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => comment_end(bytes, at),
            b'r' | b'b' | b'c' if !follows_word(bytes, at) => match raw_string_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1;
                    continue;
                }
            },
            b'"' => string_end(bytes, at + 1),
            b'\'' => match char_end(bytes, at) {
                Some(end) => end,
                None => {
                    at += 1; // a lifetime
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("only whole literals and comments are blanked")
}

/// Returns the identifiers of a piece of code, each with the text before and after it.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        let end = code[start..]
            .find(|c| !is_word(c))
            .map_or(code.len(), |length| start + length);
        at = end;
        Some((&code[..start], &code[start..end], &code[end..]))
    })
}

/// Returns the number of lines before the tests at the end.
pub(crate) fn lines_before_tests(code: &str) -> usize {
    let lines: Vec<_> = code.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    tests.unwrap_or(lines.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn follows_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| at + length)
}

/// Returns the end of a block comment, which may contain others.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

/// Returns the end of a literal with a prefix (`r"…"`, `r#"…"#`, `br"…"`, `cr"…"`, `b"…"`, `c"…"`), or `None` if there is
/// none at this position, e.g. because it is a raw identifier.
fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let letters = bytes[at..]
        .iter()
        .take_while(|byte| matches!(byte, b'r' | b'b' | b'c'))
        .count();
    let hashes = bytes[at + letters..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + letters + hashes;
    if letters > 2 || bytes.get(open) != Some(&b'"') {
        return None;
    }
    if !bytes[at..at + letters].contains(&b'r') {
        return (hashes == 0).then(|| string_end(bytes, open + 1));
    }
    let close: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
    let length = bytes[open + 1..]
        .windows(close.len())
        .position(|window| window == close);
    Some(length.map_or(bytes.len(), |length| open + 1 + length + close.len()))
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) == Some(&b'\\') {
        let length = bytes[at + 3..].iter().position(|byte| *byte == b'\'')?;
        return Some(at + 3 + length + 1);
    }
    let text = std::str::from_utf8(&bytes[at + 1..(at + 5).min(bytes.len())]);
    let first = match text {
        Ok(text) => text.chars().next()?.len_utf8(),
        Err(error) if error.valid_up_to() > 0 => {
            let valid = &bytes[at + 1..at + 1 + error.valid_up_to()];
            std::str::from_utf8(valid).ok()?.chars().next()?.len_utf8()
        }
        Err(_) => return None,
    };
    (bytes.get(at + 1 + first) == Some(&b'\'')).then_some(at + first + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_is_kept() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x \" y") g"#, "f(        ) g"),
            (r##"f(r#"x " y"#) g"##, "f(          ) g"),
            ("b\"x\" br\"y\" r#type", "           r#type"),
            ("'a' '\\n' '\\'' 'é' &'a str", "                   &'a str"),
            ("'\\u{1F600}' x", "            x"),
        ];
        for (text, expected) in cases {
            assert_eq!(code(text).trim_end(), expected.trim_end(), "{text}");
            assert_eq!(code(text).len(), text.len(), "{text}");
        }
    }

    #[test]
    fn every_word_is_found_once() {
        let found: Vec<_> = words("use a::b_c; d(2)").map(|(_, word, _)| word).collect();
        assert_eq!(found, ["use", "a", "b_c", "d", "2"]);
    }

    #[test]
    fn tests_at_the_end_are_not_counted() {
        assert_eq!(lines_before_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(lines_before_tests("a\n#[cfg(test)]\nfn b() {}\n"), 3);
    }
}
