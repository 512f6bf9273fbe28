//! The files of a crate as modules, and what each of them imports.

use std::collections::{BTreeMap, BTreeSet};

use crate::circles::scan::{self, Use};
use crate::tidy::Source;

/// The path of a module from the root of its crate; empty for `lib.rs` or `main.rs`.
type Module = Vec<String>;

/// The files of a crate's folder `src`, without files that are only for tests.
pub(super) struct Files {
    files: Vec<File>,
    by_module: BTreeMap<Module, usize>,
}

struct File {
    /// From the folder `src`.
    path: String,
    module: Module,
    uses: Vec<Use>,
    paths: Vec<Vec<String>>,
}

impl Files {
    /// Scans the Rust files of a crate.
    pub(super) fn of(sources: &[Source]) -> Self {
        let mut tests: BTreeSet<Module> = BTreeSet::new();
        let mut found = Vec::new();
        for source in sources {
            let Some((_, path)) = source.path.split_once("/src/") else { continue };
            let module = module_of(path);
            for name in scan::test_modules(&source.text) {
                tests.insert([&module[..], &[name]].concat());
            }
            found.push((path, module, source));
        }
        let is_test =
            |module: &Module| (1..=module.len()).any(|length| tests.contains(&module[..length]));
        let files: Vec<File> = found
            .into_iter()
            .filter(|(_, module, _)| !is_test(module))
            .map(|(path, module, source)| {
                let code = scan::code(&source.text);
                let (uses, paths) = (scan::uses(&code), scan::paths(&code));
                File { path: path.to_owned(), module, uses, paths }
            })
            .collect();
        let by_module = files.iter().zip(0..).map(|(file, at)| (file.module.clone(), at)).collect();
        Self { files, by_module }
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Paths of files, from the folder `src`.
    pub(super) fn paths(&self, files: &[usize]) -> Vec<String> {
        files.iter().map(|at| self.files[*at].path.clone()).collect()
    }

    /// For each file the files that it imports.
    pub(super) fn imports(&self) -> Vec<BTreeSet<usize>> {
        (0..self.files.len()).map(|at| self.imports_of(at)).collect()
    }

    fn imports_of(&self, at: usize) -> BTreeSet<usize> {
        let file = &self.files[at];
        let used = file.uses.iter().map(|found| &found.path);
        let targets = used.chain(&file.paths).filter_map(|path| self.target(at, path));
        targets.filter(|target| *target != at).collect()
    }

    /// The file that defines the item at `path`, as it is named in file `at`; `None` for items of other crates.
    fn target(&self, at: usize, path: &[String]) -> Option<usize> {
        let mut path = self.absolute(at, path)?;
        // Each pass follows one re-export. A chain is shorter than the number of files, unless it is a loop.
        for _ in 0..self.files.len() {
            let owner = self.owner(&path)?;
            let module = &self.files[owner].module;
            let passed_on = path
                .get(module.len())
                .and_then(|name| self.files[owner].uses.iter().find(|found| found.name == *name));
            let Some(next) = passed_on.and_then(|found| self.absolute(owner, &found.path)) else {
                return Some(owner);
            };
            path = next;
        }
        self.owner(&path)
    }

    /// The longest part of `path` that is the module of a file.
    fn owner(&self, path: &[String]) -> Option<usize> {
        (0..=path.len()).rev().find_map(|length| self.by_module.get(&path[..length])).copied()
    }

    /// `path` from the root of the crate; `None` if it leads out of the crate.
    fn absolute(&self, at: usize, path: &[String]) -> Option<Module> {
        let own = &self.files[at].module;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([own, rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|part| *part == "super").count();
                let base = own.get(..own.len().checked_sub(ups)?)?;
                Some([base, &path[ups..]].concat())
            }
            child => {
                let module = [&own[..], &[child.to_owned()]].concat();
                self.by_module.contains_key(&module).then(|| [&own[..], path].concat())
            }
        }
    }
}

fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        module.pop();
    }
    module
}
