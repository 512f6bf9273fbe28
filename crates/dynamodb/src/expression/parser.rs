//! The position in the tokens of an expression, and the errors of AWS for a wrong token. The grammar itself is in the
//! files of the expressions.

use std::fmt;

use super::lexer::{self, Kind, Token};
use super::placeholders::Placeholders;
use crate::error::Error;

/// Words that are no names unless they are behind a placeholder, in alphabetical order.
///
/// Source: "Reserved words in DynamoDB" of the DynamoDB Developer Guide.
const RESERVED: &str = include_str!("reserved_words.txt");
/// Longest expression in bytes. Source: "Quotas" of the DynamoDB Developer Guide.
const MAX_BYTES: usize = 4096;
/// Deepest nesting of parentheses, functions and paths.
const MAX_DEPTH: usize = 64;

/// Reads the tokens of one expression.
pub(crate) struct Parser<'t, 'p> {
    /// The member of the request, for messages: `ConditionExpression`.
    member: &'static str,
    text: &'t str,
    tokens: Vec<Token<'t>>,
    at: usize,
    /// The last part in parentheses: its first token, and the token behind it.
    pub last_group: Option<(usize, usize)>,
    pub placeholders: &'p mut Placeholders,
}

impl<'t, 'p> Parser<'t, 'p> {
    /// A parser at the first token.
    pub(crate) fn new(
        member: &'static str,
        text: &'t str,
        placeholders: &'p mut Placeholders,
    ) -> Result<Self, Error> {
        let mut parser =
            Self { member, text, tokens: Vec::new(), at: 0, last_group: None, placeholders };
        if text.is_empty() {
            return Err(parser.fault("The expression can not be empty;"));
        }
        if text.len() > MAX_BYTES {
            return Err(parser.fault(format_args!(
                "Expression size has exceeded the maximum allowed size; expression size: {}",
                text.len()
            )));
        }
        parser.tokens = lexer::tokens(text);
        Ok(parser)
    }

    /// Number of tokens before the position.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// The token at the position.
    pub(crate) fn token(&self) -> Token<'t> {
        self.peek(0)
    }

    /// A later token.
    pub(crate) fn peek(&self, ahead: usize) -> Token<'t> {
        let end = Token { kind: Kind::End, text: "", start: self.text.len() };
        self.tokens.get(self.at + ahead).copied().unwrap_or(end)
    }

    /// Goes to the next token.
    pub(crate) const fn advance(&mut self) {
        self.at += 1;
    }

    /// Goes over the symbol, if it is here.
    pub(crate) fn take(&mut self, symbol: &str) -> bool {
        let is_here = self.token().is(symbol);
        self.at += usize::from(is_here);
        is_here
    }

    /// Goes over the keyword, if it is here.
    pub(crate) fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_here = self.token().is_keyword(keyword);
        self.at += usize::from(is_here);
        is_here
    }

    /// Goes over the symbol, which must be here.
    pub(crate) fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.take(symbol) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Goes over the keyword, which must be here.
    pub(crate) fn expect_keyword(&mut self, keyword: &str) -> Result<(), Error> {
        if self.take_keyword(keyword) { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// Checks that the expression is over.
    pub(crate) fn expect_end(&self) -> Result<(), Error> {
        if self.token().kind == Kind::End { Ok(()) } else { Err(self.syntax_error()) }
    }

    /// The value behind the placeholder at the position.
    pub(crate) fn value(&mut self) -> Result<crate::value::Value, Error> {
        let token = self.token();
        if token.kind != Kind::ValuePlaceholder {
            return Err(self.syntax_error());
        }
        let value = self.placeholders.value(token.text)?.ok_or_else(|| {
            self.fault(format_args!(
                "An expression attribute value used in expression is not defined; attribute value: {}",
                token.text
            ))
        })?;
        self.advance();
        Ok(value)
    }

    /// The error for a token that does not belong here. It shows the token between its neighbours.
    pub(crate) fn syntax_error(&self) -> Error {
        let token = self.token();
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).unwrap_or(&token);
        let near = &self.text[before.start..self.peek(1).end().min(self.text.len())];
        let shown = if token.kind == Kind::End { "<EOF>" } else { token.text };
        self.fault(format_args!("Syntax error; token: \"{shown}\", near: \"{}\"", near.trim_end()))
    }

    /// An error of this expression.
    pub(crate) fn fault(&self, text: impl fmt::Display) -> Error {
        Error::Validation(format!("Invalid {}: {text}", self.member))
    }

    /// Checks the depth of nesting.
    pub(crate) fn check_depth(&self, depth: usize) -> Result<(), Error> {
        if depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(self.fault(format_args!("The expression is nested deeper than {MAX_DEPTH} levels")))
    }

    /// Checks that a word can be a name.
    pub(crate) fn check_not_reserved(&self, word: &str) -> Result<(), Error> {
        // A word that begins with an underscore needs a placeholder in AWS. It cannot be confused with anything here.
        if !RESERVED.lines().any(|reserved| reserved.eq_ignore_ascii_case(word)) {
            return Ok(());
        }
        Err(self
            .fault(format_args!("Attribute name is a reserved keyword; reserved keyword: {word}")))
    }
}
