//! Circles of small crates that are given as text.

use super::*;
use crate::tidy::{Crate, Source};

/// The circles of a crate with these files of its folder `src`.
fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let source = |(path, text): &(&str, &str)| Source {
        path: format!("crates/a/src/{path}"),
        text: (*text).to_owned(),
    };
    let own = Crate {
        manifest: "[package]\nname = \"a\"".parse().unwrap(),
        clippy: None,
        sources: files.iter().map(source).collect(),
        documents: Vec::new(),
    };
    let mut found = circles(&Tree { crates: vec![own], ..Tree::default() });
    found.remove(0).circles
}

#[track_caller]
fn check(files: &[(&str, &str)], expected: &[&[&str]]) {
    assert_eq!(found(files), expected);
}

#[test]
fn files_that_import_each_other_are_a_circle() {
    let lib = ("lib.rs", "mod b;\nmod c;\nmod d;");
    check(&[lib, ("b.rs", "use crate::c::C;"), ("c.rs", "use crate::d::D;"), ("d.rs", "")], &[]);
    let files = [
        lib,
        ("b.rs", "use crate::c::C;"),
        ("c.rs", "use crate::b::B;"),
        ("d.rs", "use crate::c::C;"),
    ];
    check(&files, &[&["b.rs", "c.rs"]]);
}

#[test]
fn every_form_of_a_path_is_an_import() {
    let lib = ("lib.rs", "mod b;\nmod c;");
    for forth in [
        "use crate::{x::X, c::{self, C}};",
        "use super::c::C as Other;",
        "fn f() -> crate::c::C { todo() }",
        "fn f(all: Vec<super::c::C>) {}",
        "pub(crate) use crate::c::*;",
    ] {
        check(&[lib, ("b.rs", forth), ("c.rs", "use crate::b::B;")], &[&["b.rs", "c.rs"]]);
    }
}

#[test]
fn a_parent_and_a_child_can_be_a_circle() {
    let child = ("b/c.rs", "use crate::b::Config;");
    let uses = [("lib.rs", "mod b;"), ("b.rs", "mod c;\nfn f() { c::run() }"), child];
    check(&uses, &[&["b.rs", "b/c.rs"]]);
    let above = ("b/c.rs", "use super::Config;");
    check(
        &[("lib.rs", "mod b;"), ("b.rs", "mod c;\npub use c::C;"), above],
        &[&["b.rs", "b/c.rs"]],
    );
    check(&[("lib.rs", "mod b;"), ("b.rs", "mod c;"), child], &[]);
}

#[test]
fn a_table_of_contents_is_in_no_circle() {
    let lib =
        ("lib.rs", "mod error;\nmod b;\npub use b::B;\npub use error::{Error, Other as Named};");
    let files = [lib, ("error.rs", ""), ("b.rs", "use crate::{\n    Error,\n    Named,\n};")];
    check(&files, &[]);
    let error = ("error.rs", "use crate::B;");
    check(&[lib, ("b.rs", "use crate::Error;"), error], &[&["b.rs", "error.rs"]]);
}

#[test]
fn tests_comments_and_strings_import_nothing() {
    let lib = ("lib.rs", "mod b;\nmod c;\n#[cfg(test)]\nmod d;");
    let quiet = "// crate::b::B\nconst A: &str = \"crate::b::B\"; const B: char = '\"';\n\
                 #[cfg(test)]\n#[expect(x)]\nuse crate::b::B;\n\
                 #[cfg(test)]\nfn f(all: [u8; 4]) { crate::b::f(); }\n\
                 #[cfg(test)]\nmod tests { use crate::b::B; mod deep { } }\nfn g<'a>() {}";
    let files = [lib, ("b.rs", "use crate::c::C;"), ("c.rs", quiet), ("d.rs", "use crate::b::B;")];
    check(&files, &[]);
    let loud = format!("{quiet}\nuse crate::b::B;");
    check(&[lib, files[1], ("c.rs", &loud)], &[&["b.rs", "c.rs"]]);
}

#[test]
fn files_of_tests_are_not_counted() {
    let lib = ("lib.rs", "#[cfg(test)]\nmod model;\nmod b;");
    let files = [lib, ("model.rs", "mod deep;"), ("model/deep.rs", ""), ("b.rs", "")];
    let sources =
        files.map(|(path, text)| Source { path: format!("a/src/{path}"), text: text.into() });
    assert_eq!(files::Files::of(&sources).len(), 2);
}
