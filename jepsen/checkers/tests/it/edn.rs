//! A reader for the part of EDN that histories use. Keywords become text that begins with a colon.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// Reads all values of a text.
pub(crate) fn read_all(text: &str) -> Vec<Value> {
    let mut reader = Reader { chars: text.chars().peekable() };
    let mut values = Vec::new();
    while reader.skip_blank().is_some() {
        values.push(reader.read());
    }
    values
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    /// Skips white space, commas and comments. Returns the next character without taking it.
    fn skip_blank(&mut self) -> Option<char> {
        loop {
            match self.chars.peek().copied() {
                Some(';') => while self.chars.next().is_some_and(|char| char != '\n') {},
                Some(char) if char.is_whitespace() || char == ',' => drop(self.chars.next()),
                other => return other,
            }
        }
    }

    fn read(&mut self) -> Value {
        match self.skip_blank().expect("a value") {
            '{' => self.read_map(),
            '[' => Value::Array(self.read_until(']')),
            '"' => Value::String(self.read_string()),
            _ => self.read_word(),
        }
    }

    fn read_until(&mut self, end: char) -> Vec<Value> {
        self.chars.next();
        let mut values = Vec::new();
        while self.skip_blank() != Some(end) {
            values.push(self.read());
        }
        self.chars.next();
        values
    }

    fn read_map(&mut self) -> Value {
        let values = self.read_until('}');
        assert!(values.len().is_multiple_of(2), "a key has no value");
        let pairs = values.chunks(2).map(|pair| {
            let key = pair[0].as_str().and_then(|key| key.strip_prefix(':')).expect("a keyword");
            (key.to_owned(), pair[1].clone())
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    fn read_string(&mut self) -> String {
        self.chars.next();
        let mut text = String::new();
        loop {
            match self.chars.next().expect("the end of a string") {
                '"' => return text,
                '\\' => text.push(match self.chars.next().expect("an escape") {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => self.read_code(),
                    other => other,
                }),
                char => text.push(char),
            }
        }
    }

    fn read_code(&mut self) -> char {
        let digits: String = self.chars.by_ref().take(4).collect();
        let code = u32::from_str_radix(&digits, 16).expect("four hexadecimal digits");
        char::from_u32(code).expect("a character")
    }

    fn read_word(&mut self) -> Value {
        let mut word = String::new();
        while let Some(char) =
            self.chars.next_if(|char| !char.is_whitespace() && !",]})".contains(*char))
        {
            word.push(char);
        }
        match word.as_str() {
            "nil" => Value::Null,
            word if word.starts_with(':') => Value::String(word.to_owned()),
            word => serde_json::from_str(word).expect("a number or a truth value"),
        }
    }
}
