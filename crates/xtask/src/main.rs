//! Tasks of the workspace, as commands. `tidy` checks rules that the compiler does not know: the layers of the crates
//! and their dependencies, lint settings, and that no test is switched off. The same check runs as a test.
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

/// Root folder of the workspace.
fn root() -> Result<PathBuf> {
    // Read when the program runs, not when it is compiled: two clones with one target folder share the compiled
    // program.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").context("run it with cargo")?;
    let root = Path::new(&own).ancestors().nth(2);
    Ok(root.context("this crate is two folders below the workspace")?.to_owned())
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
