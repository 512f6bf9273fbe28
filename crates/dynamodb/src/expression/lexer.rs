//! Cuts the text of an expression into tokens. A character that begins no token becomes a token of its own, which the
//! parser refuses when it gets there.

/// A token and its place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'t> {
    pub kind: Kind,
    /// The characters of the token. Empty at the end of the text.
    pub text: &'t str,
    /// Position of the first byte.
    pub start: usize,
}

/// The kind of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word: a name, a keyword or a function.
    Word,
    /// `#name`.
    NamePlaceholder,
    /// `:value`.
    ValuePlaceholder,
    /// A whole number: an index of a list.
    Digits,
    /// A character such as `(`, or two such as `<>`.
    Symbol,
    /// A character that no expression has.
    Unknown,
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// Position behind the last byte.
    pub(crate) const fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether the token is this symbol.
    pub(crate) fn is(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.text == symbol
    }

    /// Whether the token is this keyword, in capital or small letters.
    pub(crate) fn is_keyword(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }
}

/// The tokens of a text. The last one is the end.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = text[start..].chars().next() {
        if first.is_whitespace() {
            start += first.len_utf8();
            continue;
        }
        let (kind, length) = token(&text[start..], first);
        tokens.push(Token { kind, text: &text[start..start + length], start });
        start += length;
    }
    tokens.push(Token { kind: Kind::End, text: "", start });
    tokens
}

fn token(rest: &str, first: char) -> (Kind, usize) {
    let word = |from: usize| {
        let part_of_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        from + rest.bytes().skip(from).take_while(part_of_word).count()
    };
    match first {
        'a'..='z' | 'A'..='Z' | '_' => (Kind::Word, word(0)),
        '#' if word(1) > 1 => (Kind::NamePlaceholder, word(1)),
        ':' if word(1) > 1 => (Kind::ValuePlaceholder, word(1)),
        '0'..='9' => (Kind::Digits, rest.bytes().take_while(u8::is_ascii_digit).count()),
        '<' if rest.starts_with("<>") || rest.starts_with("<=") => (Kind::Symbol, 2),
        '>' if rest.starts_with(">=") => (Kind::Symbol, 2),
        '=' | '<' | '>' | '(' | ')' | ',' | '.' | '[' | ']' | '+' | '-' => (Kind::Symbol, 1),
        _ => (Kind::Unknown, first.len_utf8()),
    }
}
