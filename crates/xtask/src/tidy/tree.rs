//! The files that the rules look at, read once and parsed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

/// The workspace: all files that the rules look at.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// The root's `clippy.toml`.
    pub(crate) clippy: Table,
    /// All crates in the folder `crates/`, by name of the folder.
    pub(crate) crates: Vec<Crate>,
    /// All Python files below `tests/`.
    pub(crate) python: Vec<Source>,
    /// Markdown outside the crates: in the root and in `docs/`.
    pub(crate) documents: Vec<Source>,
    /// Protocol definitions.
    pub(crate) protos: Vec<Source>,
}

/// One crate.
#[derive(Debug)]
pub(crate) struct Crate {
    /// Parsed `Cargo.toml`.
    pub(crate) manifest: Table,
    /// The crate's own `clippy.toml`, which replaces the root's.
    pub(crate) clippy: Option<Table>,
    /// All Rust files, tests included.
    pub(crate) sources: Vec<Source>,
    /// Its Markdown files.
    pub(crate) documents: Vec<Source>,
}

/// One text file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the root.
    pub(crate) path: String,
    /// Content of the file.
    pub(crate) text: String,
}

/// Level of a crate in the pyramid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// 0 words, 1 rules, 2 machines, 3 cluster, 4 platform, 5 services, 6 programs.
    Numbered(i64),
    /// Helps tests: only `dev-dependencies` may name it.
    Tests,
    /// Works on the workspace: no crate may name it.
    Tools,
}

/// One dependency of a crate.
#[derive(Debug)]
pub(crate) struct Dependency<'a> {
    /// Name of the package, also if the manifest renames it.
    pub(crate) package: &'a str,
    /// Whether only the crate's own tests use it.
    pub(crate) dev: bool,
    /// The right-hand side of the line.
    pub(crate) value: &'a Value,
}

impl Tree {
    /// Reads the workspace at `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let folders = children(&root.join("crates"))?.into_iter().filter(|path| path.is_dir());
        let mut documents = read_files(root, children(root)?, "md")?;
        documents.extend(read_sources(root, &root.join("docs"), "md")?);
        Ok(Self {
            clippy: read_table(&root.join("clippy.toml"))?,
            crates: folders.map(|path| Crate::read(root, &path)).collect::<Result<_>>()?,
            python: read_sources(root, &root.join("tests"), "py")?,
            documents,
            protos: read_sources(root, &root.join("proto"), "proto")?,
        })
    }
}

impl Crate {
    fn read(root: &Path, folder: &Path) -> Result<Self> {
        let clippy = folder.join("clippy.toml");
        Ok(Self {
            manifest: read_table(&folder.join("Cargo.toml"))?,
            clippy: clippy.exists().then(|| read_table(&clippy)).transpose()?,
            sources: read_sources(root, folder, "rs")?,
            documents: read_sources(root, folder, "md")?,
        })
    }

    /// Name of the package.
    pub(crate) fn name(&self) -> &str {
        let name = self.manifest.get("package").and_then(|package| package.get("name"));
        name.and_then(Value::as_str).unwrap_or("(a crate without a name)")
    }

    /// The layer in `[package.metadata]`; `None` if it is missing or no layer.
    pub(crate) fn layer(&self) -> Option<Layer> {
        let layer = self.manifest.get("package")?.get("metadata")?.get("layer")?;
        match (layer.as_integer(), layer.as_str()) {
            (Some(layer @ 0..=6), None) => Some(Layer::Numbered(layer)),
            (None, Some("tests")) => Some(Layer::Tests),
            (None, Some("tools")) => Some(Layer::Tools),
            _ => None,
        }
    }

    /// Every dependency, also those of a single target.
    pub(crate) fn dependencies(&self) -> Vec<Dependency<'_>> {
        let targets = self.manifest.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        [&self.manifest].into_iter().chain(targets).flat_map(dependencies_of).collect()
    }
}

fn dependencies_of(tables: &Table) -> Vec<Dependency<'_>> {
    let mut found = Vec::new();
    for (kind, dev) in
        [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
    {
        for (name, value) in tables.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let package = value.get("package").and_then(Value::as_str).unwrap_or(name);
            found.push(Dependency { package, dev, value });
        }
    }
    found
}

fn read_table(path: &Path) -> Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("parsing {}", path.display()))
}

/// All files below `folder` with the given extension.
fn read_sources(root: &Path, folder: &Path, extension: &str) -> Result<Vec<Source>> {
    let (folders, files): (Vec<_>, Vec<_>) =
        children(folder)?.into_iter().partition(|path| path.is_dir());
    let mut sources = read_files(root, files, extension)?;
    for folder in folders {
        sources.extend(read_sources(root, &folder, extension)?);
    }
    Ok(sources)
}

/// Those of `paths` that are files whose name ends in `.extension`.
fn read_files(root: &Path, paths: Vec<PathBuf>, extension: &str) -> Result<Vec<Source>> {
    let wanted =
        |path: &PathBuf| path.is_file() && path.extension().is_some_and(|found| found == extension);
    let mut sources = Vec::new();
    for path in paths.into_iter().filter(wanted) {
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        sources.push(Source { path, text });
    }
    Ok(sources)
}

/// The entries of `folder`, sorted; empty if there is no such folder.
fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
