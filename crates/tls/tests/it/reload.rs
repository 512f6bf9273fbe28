//! Reading files again when they change, and errors for files that cannot be used.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anabranch_tls::issue::{Authority, Issued};
use anabranch_tls::{Error, MutualTls, Reloading};
use tokio::time::timeout;

use crate::set::{LOOK, Set, node, today};

const PATIENCE: Duration = Duration::from_secs(30);

/// A value made from one file, which must not contain "broken", and the number of times that it was read.
struct OfFile {
    value: Reloading<String>,
    readings: Arc<AtomicUsize>,
}

impl OfFile {
    fn new(path: PathBuf) -> Self {
        let readings = Arc::new(AtomicUsize::new(0));
        let (paths, counted) = (vec![path.clone()], Arc::clone(&readings));
        let load = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let read = |error| Error::Read { path: path.clone(), error };
            match std::fs::read_to_string(&path).map_err(read)? {
                text if text == "broken" => Err(Error::Issue(text)),
                text => Ok(text),
            }
        };
        Self { value: Reloading::new(paths, LOOK, load).unwrap(), readings }
    }

    async fn becomes(&self, text: &str) {
        until(|| *self.value.current() == text).await;
    }

    /// Waits until the file was read twice more.
    async fn is_read(&self) {
        let before = self.readings.load(Ordering::SeqCst);
        until(|| self.readings.load(Ordering::SeqCst) >= before + 2).await;
    }
}

async fn until(is_true: impl Fn() -> bool) {
    let seen = async {
        while !is_true() {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
}

#[tokio::test]
async fn changed_files_are_read_again_and_broken_files_keep_the_old_value() {
    let set = Set::of("c");
    let path = set.path("file");
    std::fs::write(&path, "one").unwrap();
    let file = OfFile::new(path.clone());
    file.becomes("one").await;
    std::fs::write(&path, "second").unwrap();
    file.becomes("second").await;
    std::fs::write(&path, "broken").unwrap();
    file.is_read().await;
    file.becomes("second").await;
    std::fs::remove_file(&path).unwrap();
    file.is_read().await;
    file.becomes("second").await;
    std::fs::write(set.path("fresh"), "three").unwrap();
    std::fs::rename(set.path("fresh"), &path).unwrap();
    file.becomes("three").await;
}

#[tokio::test]
async fn errors_name_the_file_that_cannot_be_used() {
    let set = Set::of("c");
    set.issue("one", node(1), today());
    set.issue("two", node(2), today());
    let error = |change: fn(&mut anabranch_tls::MutualFiles, &Set)| {
        let mut files = set.files("one");
        change(&mut files, &set);
        MutualTls::load(files, LOOK).unwrap_err().to_string()
    };
    let missing = error(|files, set| files.ca = set.path("none.pem"));
    assert!(missing.contains("none.pem: No such file"), "{missing}");
    let swapped = error(|files, set| files.own.key = set.files("two").own.key);
    assert!(swapped.contains("two.key: goes not with"), "{swapped}");
    let no_key = error(|files, set| files.own.key = set.path("ca.pem"));
    assert!(no_key.contains("ca.pem: holds no private key in PEM"), "{no_key}");
    let no_certificate = error(|files, set| files.own.certificate = set.files("one").own.key);
    assert!(no_certificate.contains("one.key: holds no certificate in PEM"), "{no_certificate}");
    let nameless = error(|files, set| {
        files.own.certificate = set.path("ca.pem");
        files.own.key = set.path("ca.key");
        let (_, issued) = Authority::new("c", today()).unwrap();
        std::fs::write(set.path("ca.pem"), issued.certificate).unwrap();
        std::fs::write(set.path("ca.key"), issued.key).unwrap();
    });
    assert!(nameless.contains("has no name anabranch://"), "{nameless}");
}

#[test]
fn an_authority_can_be_read_back() {
    let (authority, issued) = Authority::new("c", today()).unwrap();
    assert_eq!(Authority::read(&issued).unwrap().cluster(), authority.cluster());
    let (_, other) = Authority::new("c", today()).unwrap();
    let mixed = Issued { key: other.key, ..issued.clone() };
    assert!(Authority::read(&mixed).unwrap_err().to_string().contains("don't match"));
    let own = authority.issue(node(1), &[], today()).unwrap();
    assert!(Authority::read(&own).unwrap_err().to_string().contains("not an authority"));
    for name in ["", "a b", "a/b", "ä"] {
        assert!(Authority::new(name, today()).is_err(), "{name}");
    }
}
