//! Files of a crate that import each other.
//!
//! A circle is a strongly connected component of the graph of files: file A imports file B if A names an item of B's
//! module, in `use` or in any other path that begins with `crate`, `super`, `self` or a child module of A. A name
//! that a file only passes on (`pub use`) leads to the file that defines it. So a table of contents is in no circle.
//!
//! The text is scanned, not compiled. Comments, strings and everything under `#[cfg(test)]` are left out. A glob import
//! leads to the module itself. An inline module is read as a part of its file.

mod files;
mod graph;
mod scan;
#[cfg(test)]
mod tests;

use crate::tidy::Tree;

/// The circles of one crate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circles {
    /// Name of the package.
    pub(crate) name: String,
    /// Files without tests.
    pub(crate) files: usize,
    /// Circles of two files and more, the largest first; paths from the crate's folder `src`.
    pub(crate) circles: Vec<Vec<String>>,
}

/// The circles of every crate, in the order of the tree.
pub(crate) fn circles(tree: &Tree) -> Vec<Circles> {
    tree.crates
        .iter()
        .map(|member| {
            let files = files::Files::of(&member.sources);
            let mut circles: Vec<Vec<String>> = graph::components(&files.imports())
                .into_iter()
                .filter(|component| component.len() > 1)
                .map(|component| files.paths(&component))
                .collect();
            circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
            Circles { name: member.name().to_owned(), files: files.len(), circles }
        })
        .collect()
}
