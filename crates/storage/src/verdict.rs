//! The quarantine file: which replicas are quarantined, and why. It exists so that the quarantine survives restarts.
//!
//! The file is text and is replaced as a whole. It has a version line; `all REASON` if every group is quarantined
//! because the extent of the damage is unknown, followed by `cleared ID` for each group that was removed since;
//! `group ID REASON` for each other quarantined group; and at the end `crc HEX` over the lines before. A file that
//! cannot be decoded counts as `all`.
//!
//! `all` lasts until the node knows which groups the directory could have held when the damage was found
//! ([`Verdicts::bound`]). Then each of these groups gets a line of its own, and groups made later are healthy. Until
//! a change is stored, the file may name too many groups, but never too few.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anabranch_types::GroupId;

use crate::dir::replace_file;

const FILE: &str = "quarantine";
const VERSION_LINE: &str = "anabranch quarantine, version 1";

/// The quarantined groups of this store, and the reasons.
///
/// A lookup never waits for the disk: `state` is locked only for a moment. `file` is locked while the file is
/// written.
pub(crate) struct Verdicts {
    root: PathBuf,
    state: Mutex<State>,
    file: Mutex<()>,
    /// Whether the last attempt to write the file failed.
    unsaved: AtomicBool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    all: Option<String>,
    groups: BTreeMap<GroupId, String>,
    /// Groups to which `all` no longer applies.
    cleared: BTreeSet<GroupId>,
    /// Groups whose removal is not durable yet. Not stored.
    clearing: BTreeSet<GroupId>,
}

impl Verdicts {
    pub(crate) fn load(root: &Path) -> io::Result<Self> {
        let state = match fs::read_to_string(root.join(FILE)) {
            Ok(text) => decode(&text).unwrap_or_else(|| State {
                all: Some(format!("{FILE} cannot be read")),
                ..State::default()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                State { all: Some(format!("{FILE} is not text")), ..State::default() }
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            root: root.to_owned(),
            state: Mutex::new(state),
            file: Mutex::default(),
            unsaved: AtomicBool::new(false),
        })
    }

    /// The reason for a group's quarantine. `None` if the group is healthy.
    pub(crate) fn reason(&self, group: GroupId) -> Option<String> {
        let state = self.lock();
        if state.clearing.contains(&group) {
            return None;
        }
        let of_all = || state.all.clone().filter(|_| !state.cleared.contains(&group));
        state.groups.get(&group).cloned().or_else(of_all)
    }

    pub(crate) fn add(&self, group: GroupId, reason: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.groups.entry(group).or_insert_with(|| one_line(reason));
        drop(state);
        self.save()
    }

    /// Quarantines every group, unknown groups included.
    pub(crate) fn add_all(&self, reason: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.all = Some(one_line(reason));
        state.cleared.clear();
        drop(state);
        self.save()
    }

    /// Replaces the quarantine of every group with one for each group in `existing`. Does nothing if there is no
    /// quarantine of every group.
    pub(crate) fn bound(&self, existing: impl Iterator<Item = GroupId>) -> io::Result<()> {
        let mut state = self.lock();
        let Some(reason) = state.all.take() else { return Ok(()) };
        let cleared = std::mem::take(&mut state.cleared);
        for group in existing.filter(|group| !cleared.contains(group)) {
            state.groups.entry(group).or_insert_with(|| reason.clone());
        }
        drop(state);
        // If this fails, the file still quarantines every group. That is safe.
        self.save()
    }

    /// Called when the removal of a group begins. The quarantine no longer applies, but it does again after a crash.
    pub(crate) fn begin_clearing(&self, group: GroupId) {
        let mut state = self.lock();
        if state.all.is_some() || state.groups.contains_key(&group) {
            state.clearing.insert(group);
        }
    }

    /// Called when the removal of a group is durable.
    pub(crate) fn finish_clearing(&self, group: GroupId) -> io::Result<()> {
        let mut state = self.lock();
        if !state.clearing.remove(&group) {
            return Ok(());
        }
        state.groups.remove(&group);
        if state.all.is_some() {
            state.cleared.insert(group);
        }
        drop(state);
        self.save()
    }

    /// Writes the file again if the last attempt failed.
    pub(crate) fn save_again(&self) {
        if self.unsaved.load(Relaxed)
            && let Err(error) = self.save()
        {
            tracing::warn!(%error, "quarantine verdicts could not be stored");
        }
    }

    fn save(&self) -> io::Result<()> {
        let _one_at_a_time = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let text = encode(&self.lock());
        let saved = replace_file(&self.root, FILE, text.as_bytes());
        self.unsaved.store(saved.is_err(), Relaxed);
        saved
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn one_line(reason: &str) -> String {
    reason.replace(['\n', '\r'], " ")
}

fn encode(state: &State) -> String {
    let mut text = format!("{VERSION_LINE}\n");
    if let Some(reason) = &state.all {
        let _ = writeln!(text, "all {reason}");
    }
    for group in &state.cleared {
        let _ = writeln!(text, "cleared {group}");
    }
    for (group, reason) in &state.groups {
        let _ = writeln!(text, "group {group} {reason}");
    }
    let crc = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "crc {crc:08x}");
    text
}

fn decode(text: &str) -> Option<State> {
    let body_bytes = text.trim_end().rfind('\n')? + 1;
    let (body, last) = text.split_at(body_bytes);
    let crc = u32::from_str_radix(last.trim_end().strip_prefix("crc ")?, 16).ok()?;
    let mut lines = body.lines();
    if crc != crc32c::crc32c(body.as_bytes()) || lines.next() != Some(VERSION_LINE) {
        return None;
    }
    let mut state = State::default();
    for line in lines {
        match line.split_once(' ')? {
            ("all", reason) => state.all = Some(reason.to_owned()),
            ("cleared", group) => {
                state.cleared.insert(GroupId(group.parse().ok()?));
            }
            ("group", rest) => {
                let (group, reason) = rest.split_once(' ')?;
                state.groups.insert(GroupId(group.parse().ok()?), reason.to_owned());
            }
            _ => return None,
        }
    }
    Some(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarantine_survives_restarts_until_the_removal_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Verdicts::load(dir.path()).unwrap();
        let verdicts = open();
        verdicts.add(GroupId(7), "rot in a\nsegment").unwrap();
        assert_eq!(open().reason(GroupId(7)).as_deref(), Some("rot in a segment"));
        verdicts.begin_clearing(GroupId(7));
        assert_eq!(verdicts.reason(GroupId(7)), None);
        assert!(open().reason(GroupId(7)).is_some());
        verdicts.finish_clearing(GroupId(7)).unwrap();
        assert_eq!(open().reason(GroupId(7)), None);
    }

    #[test]
    fn damage_of_unknown_extent_quarantines_unknown_groups_until_each_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::load(dir.path()).unwrap();
        verdicts.add_all("hole").unwrap();
        verdicts.begin_clearing(GroupId(1));
        verdicts.finish_clearing(GroupId(1)).unwrap();
        let verdicts = Verdicts::load(dir.path()).unwrap();
        assert_eq!(verdicts.reason(GroupId(1)), None);
        assert_eq!(verdicts.reason(GroupId(2)).as_deref(), Some("hole"));
    }

    #[test]
    fn bounding_the_damage_quarantines_only_the_groups_that_existed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Verdicts::load(dir.path()).unwrap();
        let verdicts = open();
        verdicts.add_all("hole").unwrap();
        verdicts.begin_clearing(GroupId(1));
        verdicts.finish_clearing(GroupId(1)).unwrap();
        verdicts.begin_clearing(GroupId(3));
        verdicts.bound([1, 2, 3].map(GroupId).into_iter()).unwrap();
        verdicts.finish_clearing(GroupId(3)).unwrap();
        for verdicts in [verdicts, open()] {
            assert_eq!(verdicts.reason(GroupId(2)).as_deref(), Some("hole"));
            for healthy in [1, 3, 4] {
                assert_eq!(verdicts.reason(GroupId(healthy)), None, "{healthy}");
            }
            verdicts.bound([GroupId(4)].into_iter()).unwrap();
        }
        let verdicts = open();
        verdicts.begin_clearing(GroupId(2));
        verdicts.finish_clearing(GroupId(2)).unwrap();
        assert_eq!(open().lock().clone(), State::default());
    }

    #[test]
    fn an_invalid_file_quarantines_every_group() {
        let dir = tempfile::tempdir().unwrap();
        Verdicts::load(dir.path()).unwrap().add(GroupId(7), "rot").unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap().replace("group 7", "group 8");
        fs::write(&path, text).unwrap();
        assert!(Verdicts::load(dir.path()).unwrap().reason(GroupId(1)).is_some());
    }
}
