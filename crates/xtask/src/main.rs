//! Chores of the workspace, as commands.
//!
//! - `tidy` checks what the compiler does not: the layers of the crates, lint settings, tests that are switched off,
//!   and the prose of comments and documents. The same check runs as a test. Start at [`tidy::findings`].
//! - `prose` counts mannered turns, files without a `//!` comment and wide comment lines for each crate; with names of
//!   crates it prints each line.
//! - `circles` prints for each crate the largest set of files that import each other.

mod circles;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::circles::{Circles, circles};
use crate::tidy::{Place, Prose, Tree, findings, prose_findings, prose_groups};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let tree = Tree::read(&root()?)?;
    match &arguments[..] {
        [command] if command == "tidy" => Ok(run_tidy(&tree)),
        [command, crates @ ..] if command == "prose" => {
            run_prose(&tree, crates);
            Ok(ExitCode::SUCCESS)
        }
        [command] if command == "circles" => {
            run_circles(&tree);
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: cargo run --release -p xtask -- tidy | prose [CRATE...] | circles"),
    }
}

fn run_tidy(tree: &Tree) -> ExitCode {
    let findings = findings(tree);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for each group, and the lines of `crates` that break a rule.
fn run_prose(tree: &Tree, crates: &[String]) {
    let groups = prose_groups(tree);
    println!(
        "{:<22} {:>7} {:>6} {:>9} {:>12} {:>5}",
        "group", "lines", "turns", "per 1,000", "without //!", "wide"
    );
    for prose in &groups {
        let Prose { name, lines, turns, undescribed, wide } = prose;
        let (turns, undescribed, wide) = (turns.len(), undescribed.len(), wide.len());
        let rate = prose.rate();
        println!("{name:<22} {lines:>7} {turns:>6} {rate:>9.1} {undescribed:>12} {wide:>5}");
    }
    let chosen = groups.iter().filter(|prose| crates.contains(&prose.name));
    let places =
        chosen.flat_map(|prose| prose.turns.iter().chain(&prose.undescribed).chain(&prose.wide));
    places.map(Place::in_short).for_each(|place| println!("{place}"));
    println!("prose: {} findings", prose_findings(tree).len());
}

/// A line for each crate; its largest circle is named if it has one.
fn run_circles(tree: &Tree) {
    println!("{:<22} {:>5} {:>7} {:>7}", "crate", "files", "circles", "largest");
    for Circles { name, files, circles } in circles(tree) {
        let (count, largest) = (circles.len(), circles.first().map_or(1, Vec::len));
        let members = circles.first().map(|circle| circle.join(" ")).unwrap_or_default();
        println!("{name:<22} {files:>5} {count:>7} {largest:>7}  {members}");
    }
}

/// Root folder of the workspace.
fn root() -> Result<PathBuf> {
    // Read at run time: a path that was compiled in may be that of another clone with the same target folder.
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
