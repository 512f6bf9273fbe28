//! Jepsen's EDN: one map for each event, so that Jepsen's tools can read a history.
//!
//! The keys are Jepsen's (`:index`, `:time`, `:type`, `:process`, `:f`, `:value`, `:error`), and `:gateway`. Members
//! of values are keywords with dashes. Faults and observations have the process `:nemesis`. The header is a comment
//! in the first line. Sequence numbers and hash keys stay text.

use std::io::{self, Write};

use serde_json::Value;

use super::History;
use super::json::Line;

/// Writes the history as EDN.
///
/// # Errors
/// The writer's error.
pub fn write_edn(mut out: impl Write, history: &History) -> io::Result<()> {
    writeln!(out, "; {}", serde_json::to_string(history.header())?)?;
    for event in history.events() {
        let line = serde_json::to_value(Line::from(event))?;
        let mut text = String::new();
        write_line(&mut text, &line);
        writeln!(out, "{text}")?;
    }
    Ok(())
}

/// Members of a line: name in JSON, name in EDN, form of the value.
const MEMBERS: [(&str, &str, Form); 8] = [
    ("i", "index", Form::Plain),
    ("type", "type", Form::Keyword),
    ("proc", "process", Form::Process),
    ("f", "f", Form::Keyword),
    ("value", "value", Form::Plain),
    ("t_ns", "time", Form::Plain),
    ("gw", "gateway", Form::Optional),
    ("err", "error", Form::Optional),
];

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Keyword,
    Process,
    Optional,
}

fn write_line(out: &mut String, line: &Value) {
    out.push('{');
    for (json, edn, form) in MEMBERS {
        let value = &line[json];
        if matches!(form, Form::Optional) && value.is_null() {
            continue;
        }
        if !out.ends_with('{') {
            out.push_str(", ");
        }
        out.push(':');
        out.push_str(edn);
        out.push(' ');
        match (form, value) {
            (Form::Keyword, Value::String(text)) => write_keyword(out, text),
            (Form::Process, Value::Null) => out.push_str(":nemesis"),
            _ => write_value(out, value),
        }
    }
    out.push('}');
}

fn write_keyword(out: &mut String, name: &str) {
    out.push(':');
    out.extend(name.chars().map(|char| if char == '_' { '-' } else { char }));
}

fn write_value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("nil"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { " " });
                write_value(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (place, (name, value)) in members.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { ", " });
                write_keyword(out, name);
                out.push(' ');
                write_value(out, value);
            }
            out.push('}');
        }
    }
}

/// EDN knows fewer escapes than JSON. Other control characters have no short form, so they are written as `\u`.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if char.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
}
