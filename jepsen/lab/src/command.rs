//! Runs commands of the operating system.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command that must succeed. Returns its standard output.
///
/// # Errors
/// If the command can't be started, or ends without success: its own error text.
pub(crate) fn run<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Result<String> {
    let words: Vec<S> = words.into_iter().collect();
    let shown =
        || words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
    let (program, arguments) = words.split_first().context("a command without a name")?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run: {}", shown()))?;
    if !output.status.success() {
        bail!("{}: {}", shown(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command given as one string of words without quotes.
///
/// # Errors
/// As [`run`].
pub(crate) fn sh(line: &str) -> Result<String> {
    run(line.split_whitespace())
}
