//! Chores of the workspace, as commands. `tidy` checks what the compiler doesn't: the layers of the
//! crates, who may depend on what, and that no test is switched off. The same check runs as a test.
//!
//! Start at [`tidy::findings`].

mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::tidy::{Tree, findings};

fn main() -> Result<ExitCode> {
    match std::env::args().nth(1).as_deref() {
        Some("tidy") => run_tidy(),
        _ => bail!("usage: cargo run --release -p xtask -- tidy"),
    }
}

fn run_tidy() -> Result<ExitCode> {
    let findings = findings(&Tree::read(&root()?)?);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The folder of the workspace.
fn root() -> Result<PathBuf> {
    // Asked of cargo when it runs: what was compiled in may be another clone with the same target folder.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run it with cargo")?;
    let root = Path::new(&own).ancestors().nth(2);
    Ok(root.context("this crate stands two folders below the workspace")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let tree = Tree::read(&root().unwrap()).unwrap();
        assert_eq!(findings(&tree), Vec::<String>::new());
    }
}
