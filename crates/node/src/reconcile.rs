//! Makes the replicas on this node match the catalog.
//!
//! Order of events in a round: damage that the log store found is bounded to the groups that this disk can hold. Each
//! replica whose configuration changed is opened, or told the change if it is open. A replica that is quarantined is
//! closed, and the catalog is asked for another one in its place. Groups that are no longer this node's are removed.
//!
//! A round repeats what failed in the last one, so nothing here is retried by itself.
//!
//! Never: data is removed because of a version of the catalog that is older than this node's registration, or while
//! it may be the last copy of something.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anabranch_catalog::{
    Catalog, Command, Encryption, GroupCommand, GroupKind, GroupRef, Replica, ShardRef, StreamMode,
    StreamStatus,
};
use anabranch_encryption::{ShardKeys, StreamKeys};
use anabranch_replica::{Error, GroupSpec};
use anabranch_types::{GroupId, HashKeyRange, ReplicaId};
use futures::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::timeout;

use crate::bootstrap;
use crate::node::Node;
use crate::shard_leaders::has_leader;

/// How often a round is made if the catalog does not change, to find new damage and leftovers.
const ROUND: Duration = Duration::from_secs(1);
/// From this many replicas on, a node does without huge pages.
const MANY_REPLICAS: usize = 32;
/// Replicas that are opened at a time.
const OPEN_AT_ONCE: usize = 16;

/// Memory of this node's replicas, from round to round.
#[derive(Default)]
struct Known {
    /// The configuration that each working replica was last given. In most rounds nothing has changed for most
    /// replicas.
    configured: BTreeMap<GroupId, Configuration>,
    /// Quarantined replicas, until another replica is open in their place.
    damaged: BTreeMap<GroupId, ReplicaId>,
}

#[derive(PartialEq, Eq)]
struct Configuration {
    own: ReplicaId,
    voters: Vec<Replica>,
    retention_hours: Option<u32>,
    measured: Option<HashKeyRange>,
    /// Number of the next data key, and whether records are encrypted. Each change of encryption changes one of them.
    encryption: Option<(u32, bool)>,
}

impl Configuration {
    fn of(own: Replica, group: &GroupRef<'_>) -> Self {
        let retention_hours = group.shard().map(|of| of.stream.retention_hours);
        let encryption = group.shard().map(|ShardRef { stream, .. }| {
            let Encryption { next_data_key, master_key, .. } = &stream.encryption;
            (*next_data_key, master_key.is_some())
        });
        let (voters, measured) = (group.voters(), measured(group));
        Self { own: own.id, voters, retention_hours, measured, encryption }
    }
}

/// The hash keys of a shard, if its load is to be measured.
fn measured(group: &GroupRef<'_>) -> Option<HashKeyRange> {
    let ShardRef { stream, shard, .. } = group.shard()?;
    (stream.mode == StreamMode::OnDemand && shard.is_open()).then_some(shard.range)
}

/// Follows the catalog for as long as the node runs.
pub(crate) async fn follow(node: Node) {
    let mut versions = node.catalog();
    let mut registered = node.catalog_view().registered();
    let mut known = Known::default();
    loop {
        let catalog = Arc::clone(&versions.borrow_and_update());
        // A node begins with an older version, which does not know replicas that were moved here or made anew since.
        // By that version their logs would be removed.
        let is_current = registered.borrow_and_update().is_some_and(|s| catalog.version >= s);
        if is_current && is_this_life(&node, &catalog) {
            if round(&node, &catalog, &mut known).await {
                node.catalog_view().set_reconciled(catalog.version);
            }
            node.readiness().set_placed();
        }
        let changed = async {
            tokio::select! {
                changed = versions.changed() => changed,
                changed = registered.changed() => changed,
            }
        };
        if let Ok(Err(_)) = timeout(ROUND, changed).await {
            return;
        }
    }
}

/// Whether the catalog knows this incarnation of the disk. Its entries for another one are not meant for this disk.
fn is_this_life(node: &Node, catalog: &Catalog) -> bool {
    let known = catalog.nodes.get(&node.id());
    known.is_some_and(|known| known.incarnation == node.this_start().incarnation)
}

/// The replicas that the catalog wants on this node, with their groups.
type Wanted<'a> = BTreeMap<GroupId, (Replica, GroupRef<'a>)>;

/// One round. Returns whether every replica here that works matches the catalog.
async fn round(node: &Node, catalog: &Catalog, known: &mut Known) -> bool {
    if !bound_damage(node, catalog) {
        return false;
    }
    let wanted = wanted(node, catalog);
    if wanted.len() >= MANY_REPLICAS {
        spare_memory();
    }
    let working = node.replicas().working();
    known.configured.retain(|group, _| wanted.contains_key(group) && working.contains(group));
    let quarantined = open_due(node, catalog, &wanted, known).await;
    let mut replacements = Vec::new();
    for (group, replica) in quarantined {
        if let Some((_, of)) = wanted.get(&group) {
            replacements.push(replace(node, of, replica).boxed());
        }
    }
    stream::iter(replacements).buffer_unordered(OPEN_AT_ONCE).collect::<Vec<()>>().await;
    remove_leftovers(node, catalog, &wanted).await;
    node.replicas().remove_old_logs().await;
    // A replica that is not open takes nothing, and is told its configuration before it does.
    let open = node.replicas().groups();
    wanted.keys().all(|group| known.configured.contains_key(group) || !open.contains(group))
}

/// Has the log store pin the damage that it found to groups. Returns whether the round may go on.
fn bound_damage(node: &Node, catalog: &Catalog) -> bool {
    // A store that has ended says nothing about its replicas: none of them is damaged because of that.
    if let Err(error) = node.store().check() {
        tracing::error!(%error, "the log store has ended");
        return false;
    }
    // A version below the registration's gave out every replica that this disk held before. So by now the catalog
    // names all of them that still count. Replicas that are made later can't have lost anything.
    let is_here = |group: &GroupRef<'_>| group.holders().any(|replica| replica.node == node.id());
    let held = catalog.groups().filter(is_here).map(|group| group.group).collect();
    if let Err(error) = node.store().bound_damage(&held) {
        tracing::warn!(%error, "damage can't be pinned to replicas");
        return false;
    }
    true
}

fn wanted<'a>(node: &Node, catalog: &'a Catalog) -> Wanted<'a> {
    let own = |group: &GroupRef<'_>| {
        let deleted = group.shard().is_some_and(|of| of.stream.status == StreamStatus::Deleting);
        let own = group.holders().find(|replica| replica.node == node.id());
        own.filter(|_| !deleted)
    };
    catalog.groups().filter_map(|group| Some((group.group, (own(&group)?, group)))).collect()
}

/// Opens or configures the replicas whose configuration has changed. Returns the quarantined replicas that have to be
/// replaced.
async fn open_due(
    node: &Node,
    catalog: &Catalog,
    wanted: &Wanted<'_>,
    known: &mut Known,
) -> Vec<(GroupId, ReplicaId)> {
    let due = |(own, group): &&(Replica, GroupRef<'_>)| {
        known.configured.get(&group.group) != Some(&Configuration::of(*own, group))
    };
    let mut opening = Vec::new();
    for (own, group) in wanted.values().filter(due) {
        let damaged = known.damaged.get(&group.group).copied();
        let opened = async move { (*own, group, open(node, catalog, *own, group, damaged).await) };
        opening.push(opened.boxed());
    }
    let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPEN_AT_ONCE).collect().await;
    let mut quarantined = Vec::new();
    for (own, of, result) in opened {
        let (group, replica) = (of.group, own.id);
        match result {
            Ok(()) => {
                known.damaged.remove(&group);
                known.configured.insert(group, Configuration::of(own, of));
            }
            Err(Error::OutOfService(reason)) if is_last(catalog, group, replica) => {
                tracing::error!(%group, %replica, reason, "the group can't go on from this replica");
            }
            Err(Error::OutOfService(reason)) => {
                if known.damaged.insert(group, replica) != Some(replica) {
                    tracing::error!(%group, %replica, reason, "replica is out of service");
                }
                quarantined.push((group, replica));
            }
            Err(Error::NotFound) => tracing::info!(%group, "not opened: the node is stopping"),
            Err(error) => tracing::warn!(%group, %error, "replica can't be opened"),
        }
    }
    quarantined
}

/// A replica reserves some two megabytes of queues. A quiet replica touches a tenth of them, but in huge pages it
/// would occupy all. A node of few replicas keeps huge pages, because batches then cost a seventh less (ADR-0012).
fn spare_memory() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::info!(%error, "huge pages stay");
    }
}

/// Opens a replica, or configures it if it is open.
async fn open(
    node: &Node,
    catalog: &Catalog,
    own: Replica,
    group: &GroupRef<'_>,
    damaged: Option<ReplicaId>,
) -> Result<(), Error> {
    prepare_log(node, catalog, own, group, damaged).await?;
    let replicas = node.replicas();
    // The opening would wait for the damaged entries, and hold up the replicas that are opened with it.
    let is_closed = !replicas.works(group.group);
    let stored = is_closed.then(|| replicas.stored_replica(group.group)).flatten();
    if stored.is_some_and(|(_, log)| !log.damaged().is_empty()) {
        return Err(Error::Unknown("damaged entries are being fetched from other nodes".into()));
    }
    let (members, is_new) = (group.voters(), group.is_new);
    let born = group.shard().map_or(0, |of| of.shard.born);
    let spec = GroupSpec { group: group.group, replica: own.id, members, is_new, born };
    match group.kind {
        GroupKind::Shard(shard) => open_shard(node, &spec, group, shard).await,
        GroupKind::Catalog => open_catalog(node, catalog, &spec, group).await,
        GroupKind::Table(_) => {
            match node.replicas().open_table(&spec).await?.status().quarantined {
                Some(reason) => Err(Error::OutOfService(reason)),
                None => Ok(()),
            }
        }
    }
}

/// Before a replica is opened: takes over the log of a group that is recovered from here, or begins with an empty log
/// if the catalog made this replica in place of a damaged one.
async fn prepare_log(
    node: &Node,
    catalog: &Catalog,
    own: Replica,
    group: &GroupRef<'_>,
    damaged: Option<ReplicaId>,
) -> Result<(), Error> {
    let replicas = node.replicas();
    let recovered = catalog.recovered.get(&group.group).copied();
    if let Some(recovered) = recovered.filter(|recovered| recovered.to == own.id) {
        return replicas.take_over(group.group, recovered).await;
    }
    if recovered.is_some()
        && replicas.stored_replica(group.group).is_some_and(|(id, _)| id != own.id)
        && !is_led(node, group).await
    {
        // Until the replica that the group was recovered from has been seen to lead, an operator may still decide to
        // recover the group from the log on this node. So the log stays.
        return Err(Error::NotLeader { leader: None });
    }
    if damaged.is_none_or(|damaged| damaged == own.id) {
        return Ok(());
    }
    // The other replicas must have a majority without this one. If they do not, the damaged log may hold the last
    // copy of something.
    if !is_led(node, group).await {
        return Err(Error::NotLeader { leader: None });
    }
    replicas.begin_anew(group.group, own.id).await
}

async fn open_shard(
    node: &Node,
    spec: &GroupSpec,
    group: &GroupRef<'_>,
    ShardRef { name, stream, shard }: ShardRef<'_>,
) -> Result<(), Error> {
    let (id, encryption) = (stream.id, stream.encryption.clone());
    let stream_keys = Arc::new(StreamKeys { id, name: name.clone(), encryption });
    let keys = ShardKeys::new(node.keyring().clone(), shard.id);
    keys.follow(Arc::clone(&stream_keys));
    let keys = Some(Arc::new(keys));
    let shard = node.replicas().open_shard(spec, stream.retention_hours, keys).await?;
    if let Some(keys) = shard.keys() {
        keys.follow(stream_keys);
    }
    shard.set_retention_hours(stream.retention_hours);
    shard.measure_load(measured(group));
    match shard.status().quarantined {
        Some(reason) => Err(Error::OutOfService(reason)),
        None => Ok(()),
    }
}

async fn open_catalog(
    node: &Node,
    catalog: &Catalog,
    spec: &GroupSpec,
    group: &GroupRef<'_>,
) -> Result<(), Error> {
    // Ids rise. The disk holds a replica that this catalog does not know yet, so the catalog is out of date.
    if bootstrap::stored_replica(node).is_some_and(|stored| stored > spec.replica) {
        return Err(Error::NotLeader { leader: None });
    }
    let first = bootstrap::first_catalog(node, Some(catalog));
    let replica = node.replicas().open_catalog(spec, first).await?;
    node.replicas().want(group.group, &group.voters());
    if let Some(reason) = replica.status().quarantined {
        return Err(Error::OutOfService(reason));
    }
    if node.catalog_replica().is_none_or(|known| !known.is_same(&replica)) {
        node.catalog_view().set_replica(replica);
    }
    Ok(())
}

/// Closes a quarantined replica, and asks the catalog for another one in its place. It does not ask while the group
/// has no leader. Then a majority is not sound, so no other replica could join, and an operator has to decide which
/// replica is given up.
async fn replace(node: &Node, of: &GroupRef<'_>, lost: ReplicaId) {
    let group = of.group;
    node.replicas().close(group).await;
    if group == GroupId::CATALOG {
        node.catalog_view().remove_replica();
    }
    if !is_led(node, of).await {
        return tracing::info!(%group, "not replaced: the group has no leader");
    }
    if let Err(error) =
        node.propose(&Command::Group(GroupCommand::ReplaceReplica { group, lost })).await
    {
        tracing::info!(%group, %error, "replacement");
    }
}

/// Whether a replica of the group says that it leads.
async fn is_led(node: &Node, group: &GroupRef<'_>) -> bool {
    match group.kind {
        // A majority of the catalog's group has committed the version of the catalog that this node acts on.
        GroupKind::Catalog => true,
        GroupKind::Shard(_) | GroupKind::Table(_) => {
            has_leader(node, group.group, group.replicas).await
        }
    }
}

/// Removes groups that this version of the catalog knows and does not place on this node.
async fn remove_leftovers(node: &Node, catalog: &Catalog, wanted: &Wanted<'_>) {
    let replicas = node.replicas();
    // A replica of the catalog stays until a version of the catalog from other nodes says that it is not one.
    let is_taken_away = !catalog.replicas.is_empty();
    let known = |group: &GroupId| {
        group.0 < catalog.next_group && (*group != GroupId::CATALOG || is_taken_away)
    };
    let leftovers = replicas.stored_groups().into_iter().chain(replicas.groups());
    let leftovers: BTreeSet<_> =
        leftovers.filter(|group| known(group) && !wanted.contains_key(group)).collect();
    for group in leftovers {
        if !may_be_removed(node, catalog, group).await {
            tracing::debug!(%group, "kept: it may be the last copy of something");
            continue;
        }
        if group == GroupId::CATALOG {
            node.catalog_view().remove_replica();
        }
        match replicas.remove(group).await {
            Ok(()) => tracing::info!(%group, "removed"),
            Err(error) => tracing::warn!(%group, %error, "can't be removed"),
        }
    }
}

/// Whether the group is to be recovered from `replica`, and no other replica could be used to make it anew.
fn is_last(catalog: &Catalog, group: GroupId, replica: ReplicaId) -> bool {
    let is_source = catalog.recovered.get(&group).is_some_and(|r| r.to == replica);
    let own = catalog.groups().find(|found| found.group == group);
    is_source && own.is_some_and(|own| own.holders().count() == 1)
}

/// Whether the log that this node has left of `group` can be removed. It can't if the group was recovered from
/// another replica that has not been seen to lead.
async fn may_be_removed(node: &Node, catalog: &Catalog, group: GroupId) -> bool {
    if group == GroupId::CATALOG {
        // Ids rise. A replica whose id this catalog has not given out belongs to a later version.
        let stored = bootstrap::stored_replica(node);
        return stored.is_none_or(|stored| stored.0 < catalog.next_replica);
    }
    // A catalog that was recovered may have forgotten that a replica moved here.
    let may_have_forgotten = catalog.recovered_as().is_some();
    if !may_have_forgotten && !catalog.recovered.contains_key(&group) {
        return true;
    }
    match catalog.groups().find(|found| found.group == group) {
        Some(found) => is_led(node, &found).await,
        None => !may_have_forgotten,
    }
}
