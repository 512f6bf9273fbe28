//! JSON lines: the header, then one object for each event with the members
//! `i`, `t_ns`, `type`, `proc`, `gw`, `f`, `value` and `err`.
//!
//! `proc` is null for faults and observations, whose `type` is `info`. `value` is null for `fail` and `info`.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::History;
use super::calls::{Answer, Call, Function};
use super::event::{Event, Kind};
use super::header::Header;
use super::numbers::Nanos;
use super::observations::{Nemesis, Observation};
use super::operations::Malformed;

/// Why a history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("line {line}: cannot read")]
    Io {
        /// The line, from 1.
        line: usize,
        /// The cause.
        source: io::Error,
    },
    /// A line is not in the format.
    #[error("line {line}: {source}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The cause.
        source: serde_json::Error,
    },
    /// The file has another version of the format.
    #[error("format {0} is not known, only {known}", known = Header::FORMAT)]
    Format(u32),
    /// The events are not a history.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Writes the first line.
///
/// # Errors
/// The writer's error.
pub fn write_header(mut out: impl Write, header: &Header) -> io::Result<()> {
    serde_json::to_writer(&mut out, header)?;
    out.write_all(b"\n")
}

/// Writes the line of an event.
///
/// # Errors
/// The writer's error.
pub fn write_event(mut out: impl Write, event: &Event) -> io::Result<()> {
    serde_json::to_writer(&mut out, &Line::from(event))?;
    out.write_all(b"\n")
}

/// Reads a whole file. Empty lines do not count.
///
/// # Errors
/// The first line that is not in the format, or the first event that cannot be in a history.
pub fn read_history(input: impl BufRead) -> Result<History, ReadError> {
    let mut header = None;
    let mut events = Vec::new();
    for (number, text) in input.lines().enumerate() {
        let line = number + 1;
        let text = text.map_err(|source| ReadError::Io { line, source })?;
        let json = |source| ReadError::Json { line, source };
        if text.trim().is_empty() {
            continue;
        }
        if header.is_none() {
            header = Some(read_header(&text, line)?);
        } else {
            events.push(read_event(&text).map_err(json)?);
        }
    }
    Ok(History::new(header.unwrap_or_default(), events)?)
}

fn read_header(text: &str, line: usize) -> Result<Header, ReadError> {
    let header: Header =
        serde_json::from_str(text).map_err(|source| ReadError::Json { line, source })?;
    if header.format == Header::FORMAT { Ok(header) } else { Err(ReadError::Format(header.format)) }
}

impl History {
    /// Writes the history as JSON lines.
    ///
    /// # Errors
    /// The writer's error.
    pub fn write_json(&self, mut out: impl Write) -> io::Result<()> {
        write_header(&mut out, self.header())?;
        self.events().iter().try_for_each(|event| write_event(&mut out, event))
    }
}

/// The members of a line that all kinds of events have.
#[derive(Deserialize)]
struct Frame {
    i: u64,
    t_ns: Nanos,
    r#type: Type,
    proc: Option<u64>,
    gw: Option<u64>,
    err: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// The members `f` and `value`, as far as they depend on the kind of the event.
#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Call(&'a Call),
    Answer(&'a Answer),
    Name { f: Function, value: () },
    Nemesis(&'a Nemesis),
    Observation(&'a Observation),
}

/// One line, for writing.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    i: u64,
    t_ns: Nanos,
    r#type: Type,
    proc: Option<u64>,
    gw: Option<u64>,
    #[serde(flatten)]
    body: Body<'a>,
    err: Option<&'a str>,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        let (r#type, body, err) = match &event.kind {
            Kind::Invoke { call, .. } => (Type::Invoke, Body::Call(call), None),
            Kind::Ok { answer, .. } => (Type::Ok, Body::Answer(answer), None),
            Kind::Fail { function, error, .. } => {
                (Type::Fail, Body::Name { f: *function, value: () }, Some(&**error))
            }
            Kind::Info { function, error, .. } => {
                (Type::Info, Body::Name { f: *function, value: () }, Some(&**error))
            }
            Kind::Nemesis(nemesis) => (Type::Info, Body::Nemesis(nemesis), None),
            Kind::Observation(seen) => (Type::Info, Body::Observation(seen), None),
        };
        let (proc, gw) = (event.kind.process(), event.kind.gateway());
        Self { i: event.index, t_ns: event.time, r#type, proc, gw, body, err }
    }
}

#[derive(Deserialize)]
struct Name {
    f: Function,
}

/// Either name of an event without a process.
#[derive(Deserialize)]
#[serde(untagged)]
enum Report {
    Nemesis(Nemesis),
    Observation(Observation),
}

/// Reads the frame, then the members whose type depends on it.
fn read_event(text: &str) -> Result<Event, serde_json::Error> {
    let frame: Frame = serde_json::from_str(text)?;
    let kind = match frame.proc {
        None => read_report(text)?,
        Some(process) => read_call(text, &frame, process)?,
    };
    Ok(Event { index: frame.i, time: frame.t_ns, kind })
}

fn read_report(text: &str) -> Result<Kind, serde_json::Error> {
    Ok(match serde_json::from_str(text)? {
        Report::Nemesis(nemesis) => Kind::Nemesis(nemesis),
        Report::Observation(observation) => Kind::Observation(observation),
    })
}

fn read_call(text: &str, frame: &Frame, process: u64) -> Result<Kind, serde_json::Error> {
    let gateway = frame.gw;
    let name = || serde_json::from_str::<Name>(text).map(|name| name.f);
    let error = frame.err.clone().unwrap_or_default();
    Ok(match frame.r#type {
        Type::Invoke => Kind::Invoke { process, gateway, call: serde_json::from_str(text)? },
        Type::Ok => Kind::Ok { process, gateway, answer: serde_json::from_str(text)? },
        Type::Fail => Kind::Fail { process, gateway, function: name()?, error },
        Type::Info => Kind::Info { process, gateway, function: name()?, error },
    })
}
