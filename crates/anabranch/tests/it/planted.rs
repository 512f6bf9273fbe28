//! The shipped binary has no planted bugs (`crates/planted`). This holds for every build without the feature
//! `planted-bugs`, and only `anabranch-planted` runs in a build with it.

/// Whether the binary at `path` contains `text`.
fn contains(path: &str, text: &str) -> bool {
    let binary = std::fs::read(path).unwrap();
    binary.windows(text.len()).any(|window| window == text.as_bytes())
}

#[cfg(not(feature = "planted-bugs"))]
#[test]
fn the_shipped_binary_names_no_planted_bug() {
    let path = env!("CARGO_BIN_EXE_anabranch");
    for text in ["ANABRANCH_PLANTED_BUG", "ack-before-fsync", "forget-window"] {
        assert!(!contains(path, text), "{text} is in the binary");
    }
}

#[cfg(feature = "planted-bugs")]
mod with_the_feature {
    use std::process::{Command, Output};

    use super::contains;

    const PLANTED: &str = env!("CARGO_BIN_EXE_anabranch-planted");

    fn start(path: &str, bugs: &str) -> Output {
        let mut command = Command::new(path);
        command.args(["dev", "--help"]).env("ANABRANCH_PLANTED_BUG", bugs).output().unwrap()
    }

    #[test]
    fn the_shipped_binary_refuses_to_run() {
        let refused =
            Command::new(env!("CARGO_BIN_EXE_anabranch")).args(["ctl", "status"]).output();
        let refused = refused.unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("planted bugs"), "{said}");
    }

    #[test]
    fn the_planted_binary_says_what_it_is_and_refuses_unknown_names() {
        assert!(contains(PLANTED, "ANABRANCH_PLANTED_BUG") && contains(PLANTED, "forget-window"));
        let started = start(PLANTED, "forget-window,drop-tail");
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(started.status.success() && said.contains("forget-window, drop-tail"), "{said}");
        let refused = start(PLANTED, "forget-window,no-such-bug");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("\"no-such-bug\""), "{said}");
    }
}
