//! Bounds what the parser and the compiler have to do, before they run.
//!
//! Both call themselves for each operator, keyword and bracket. Measured: up to 2.8 KiB of stack for an operator or a
//! keyword, 0.7 KiB for a bracket or a part of a path. The bounds keep them below 1 MiB.

use crate::jq::error::{LONGEST_QUERY, QueryError};

/// Sum of the weights below.
const HEAVIEST_QUERY: usize = 1000;
const OPERATOR_WEIGHT: usize = 4;
const DEEPEST_BRACKETS: usize = 64;

const KEYWORDS: [&str; 12] =
    ["and", "as", "catch", "def", "elif", "else", "foreach", "if", "label", "or", "reduce", "try"];

pub(super) fn check(text: &str) -> Result<(), QueryError> {
    if text.len() > LONGEST_QUERY {
        return Err(QueryError::TooLong(text.len()));
    }
    let code = without_texts(text).ok_or(QueryError::TooComplex)?;
    let weigh = |byte: u8| match byte {
        b'|' | b',' | b'+' | b'-' | b'*' | b'/' | b'%' | b'=' | b'<' | b'>' => OPERATOR_WEIGHT,
        b'.' | b'[' | b'(' | b'{' => 1,
        _ => 0,
    };
    let operators: usize = code.iter().copied().map(weigh).sum();
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let words = code.split(|byte| !is_word(byte));
    let keywords =
        words.filter(|word| KEYWORDS.iter().any(|keyword| keyword.as_bytes() == *word)).count();
    if operators + keywords * OPERATOR_WEIGHT > HEAVIEST_QUERY {
        return Err(QueryError::TooComplex);
    }
    Ok(())
}

/// The query without what is inside of quotes, except code in `\(...)`. `None` if brackets are nested too deeply.
fn without_texts(text: &str) -> Option<Vec<u8>> {
    let mut code = Vec::with_capacity(text.len());
    // The brackets and quotes that are open.
    let mut open: Vec<u8> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_text = open.last() == Some(&b'"');
        match byte {
            b'"' if is_text => drop(open.pop()),
            b'\\' if is_text => {
                if bytes.next() == Some(b'(') {
                    open.push(b'(');
                    code.push(b'(');
                }
            }
            _ if is_text => {}
            b'"' => open.push(byte),
            b'(' | b'[' | b'{' => {
                open.push(byte);
                code.push(byte);
            }
            b')' | b']' | b'}' => {
                open.pop();
                code.push(byte);
            }
            _ => code.push(byte),
        }
        if open.len() > DEEPEST_BRACKETS {
            return None;
        }
    }
    Some(code)
}
