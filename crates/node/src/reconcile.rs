//! Makes the replicas on this node what the catalog says: opens those that are missing, removes those
//! that are no more, has damaged ones replaced.

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

/// How often damage and leftovers are looked for when the catalog doesn't change.
const ROUND: Duration = Duration::from_secs(1);
/// From so many replicas on, a node does without huge pages.
const MANY_REPLICAS: usize = 32;
/// Replicas that are opened side by side.
const OPEN_AT_ONCE: usize = 16;

/// What is remembered of this node's replicas from round to round.
#[derive(Default)]
struct Known {
    /// What each one that works was told last: in most rounds nothing else is to be said to most of them.
    told: BTreeMap<GroupId, Told>,
    /// Damaged ones, whose groups wait for others in their place.
    lost: BTreeMap<GroupId, ReplicaId>,
}

#[derive(PartialEq, Eq)]
struct Told {
    own: ReplicaId,
    voters: Vec<Replica>,
    retention_hours: Option<u32>,
    measured: Option<HashKeyRange>,
    /// Next data key, and whether records are encrypted: each change of encryption changes one of them.
    encryption: Option<(u32, bool)>,
}

impl Told {
    fn of(own: Replica, group: &GroupRef<'_>) -> Self {
        let retention_hours = group.shard().map(|of| of.stream.retention_hours);
        let encryption = group.shard().map(|of| {
            let Encryption { next_data_key, master_key, .. } = &of.stream.encryption;
            (*next_data_key, master_key.is_some())
        });
        let (voters, measured) = (group.voters(), measured(group));
        Self { own: own.id, voters, retention_hours, measured, encryption }
    }
}

/// The hash keys of a shard whose load is to be measured.
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
        // An older version, which a node begins with, knows nothing of replicas that were moved here or
        // made anew since: by what it says, their logs would be removed.
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

/// Whether the catalog has heard of this disk: what it says of another one isn't for this node.
fn is_this_life(node: &Node, catalog: &Catalog) -> bool {
    let known = catalog.nodes.get(&node.id());
    known.is_some_and(|known| known.incarnation == node.this_start().incarnation)
}

/// One round; says whether every replica here is as the catalog says, but for those that don't work.
async fn round(node: &Node, catalog: &Catalog, known: &mut Known) -> bool {
    // A store that has ended says nothing about its replicas: none of them is lost by that.
    if let Err(error) = node.store().check() {
        tracing::error!(%error, "the log store has ended");
        return false;
    }
    // Every replica that this disk held before was given out by a version below the registration's, so by now the catalog
    // names all of them that still count. Replicas that are made later can't have lost anything.
    let is_here = |group: &GroupRef<'_>| group.holders().any(|replica| replica.node == node.id());
    let held = catalog.groups().filter(is_here).map(|group| group.group).collect();
    if let Err(error) = node.store().bound_damage(&held) {
        tracing::warn!(%error, "damage can't be pinned to replicas");
        return false;
    }
    let mine = |group: &GroupRef<'_>| {
        let deleted = group.shard().is_some_and(|of| of.stream.status == StreamStatus::Deleting);
        let own = group.holders().find(|replica| replica.node == node.id());
        own.filter(|_| !deleted)
    };
    let wanted: BTreeMap<GroupId, (Replica, GroupRef<'_>)> =
        catalog.groups().filter_map(|group| Some((group.group, (mine(&group)?, group)))).collect();
    if wanted.len() >= MANY_REPLICAS {
        spare_memory();
    }
    let working = node.replicas().working();
    known.told.retain(|group, _| wanted.contains_key(group) && working.contains(group));
    let due = |(own, group): &&(Replica, GroupRef<'_>)| {
        known.told.get(&group.group) != Some(&Told::of(*own, group))
    };
    let mut opening = Vec::new();
    for (own, group) in wanted.values().filter(due) {
        let known_lost = known.lost.get(&group.group).copied();
        let (group_id, replica) = (group.group, own.id);
        let opened =
            async move { (group_id, replica, open(node, catalog, *own, group, known_lost).await) };
        opening.push(opened.boxed());
    }
    let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPEN_AT_ONCE).collect().await;
    let mut to_replace = Vec::new();
    for (group, replica, result) in opened {
        match result {
            Ok(()) => {
                known.lost.remove(&group);
                if let Some((own, of)) = wanted.get(&group) {
                    known.told.insert(group, Told::of(*own, of));
                }
            }
            Err(Error::OutOfService(reason)) if is_last(catalog, group, replica) => {
                tracing::error!(%group, %replica, reason, "the group can't go on from this replica");
            }
            Err(Error::OutOfService(reason)) => {
                if known.lost.insert(group, replica) != Some(replica) {
                    tracing::error!(%group, %replica, reason, "replica is out of service");
                }
                if let Some((_, of)) = wanted.get(&group) {
                    to_replace.push(replace(node, of, replica).boxed());
                }
            }
            Err(Error::NotFound) => tracing::info!(%group, "not opened: the node is stopping"),
            Err(error) => tracing::warn!(%group, %error, "replica can't be opened"),
        }
    }
    stream::iter(to_replace).buffer_unordered(OPEN_AT_ONCE).collect::<Vec<()>>().await;
    remove_leftovers(node, catalog, &wanted).await;
    node.replicas().remove_old_logs().await;
    // One that isn't open takes nothing, and is told before it does.
    let open = node.replicas().groups();
    wanted.keys().all(|group| known.told.contains_key(group) || !open.contains(group))
}

/// A replica sets aside some two megabytes of queues, of which a quiet one touches a tenth; in huge pages
/// it would hold them all. A node of few replicas keeps them: batches cost a seventh less (ADR-0012).
fn spare_memory() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::info!(%error, "huge pages stay");
    }
}

/// Opens a replica, or tells the open one who belongs to its group.
async fn open(
    node: &Node,
    catalog: &Catalog,
    own: Replica,
    group: &GroupRef<'_>,
    lost: Option<ReplicaId>,
) -> Result<(), Error> {
    let replicas = node.replicas();
    let recovered = catalog.recovered.get(&group.group).copied();
    if let Some(recovered) = recovered.filter(|recovered| recovered.to == own.id) {
        replicas.take_over(group.group, recovered).await?;
    } else if recovered.is_some()
        && replicas.stored_replica(group.group).is_some_and(|(id, _)| id != own.id)
        && !is_led(node, group).await
    {
        // An operator may yet recover the group from what is here, until the replica that was kept is seen to go on.
        return Err(Error::NotLeader { leader: None });
    } else if lost.is_some_and(|lost| lost != own.id) {
        // The catalog made a new replica in place of the damaged one: begin with an empty log. But
        // not before the others are seen to have a majority without it: if they don't, what the
        // damaged log still holds may be the last copy.
        if !is_led(node, group).await {
            return Err(Error::NotLeader { leader: None });
        }
        replicas.begin_anew(group.group, own.id).await?;
    }
    // It would wait for what is damaged, and others that are to be opened with it.
    let is_closed = !replicas.works(group.group);
    let stored = is_closed.then(|| replicas.stored_replica(group.group)).flatten();
    if stored.is_some_and(|(_, log)| !log.damaged().is_empty()) {
        return Err(Error::Unknown("damaged entries are being fetched from other nodes".into()));
    }
    let (members, is_new) = (group.voters(), group.is_new);
    let born = group.shard().map_or(0, |of| of.shard.born);
    let spec = GroupSpec { group: group.group, replica: own.id, members, is_new, born };
    match group.kind {
        GroupKind::Shard(ShardRef { name, stream, shard }) => {
            let (id, encryption) = (stream.id, stream.encryption.clone());
            let stream_keys = Arc::new(StreamKeys { id, name: name.clone(), encryption });
            let keys = ShardKeys::new(node.keyring().clone(), shard.id);
            keys.follow(Arc::clone(&stream_keys));
            let keys = Some(Arc::new(keys));
            let shard = replicas.open_shard(&spec, stream.retention_hours, keys).await?;
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
        // Ids rise, so this catalog doesn't know the replica here: it counts no more.
        GroupKind::Catalog
            if bootstrap::stored_replica(node).is_some_and(|stored| stored > own.id) =>
        {
            Err(Error::NotLeader { leader: None })
        }
        GroupKind::Catalog => {
            let first = bootstrap::first_catalog(node, Some(catalog));
            let replica = replicas.open_catalog(&spec, first).await?;
            replicas.want(group.group, &group.voters());
            if let Some(reason) = replica.status().quarantined {
                return Err(Error::OutOfService(reason));
            }
            if node.catalog_replica().is_none_or(|known| !known.is_same(&replica)) {
                node.catalog_view().set_replica(replica);
            }
            Ok(())
        }
    }
}

/// Stops a damaged replica and asks the catalog for another one in its place. But not while its group has no leader: then a
/// majority isn't sound, so no other replica could join, and which one is given up is for the operator to say.
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
        GroupKind::Shard(ShardRef { shard, .. }) => has_leader(node, shard).await,
    }
}

/// Removes groups that were given out before this version and are not this node's in it.
async fn remove_leftovers(
    node: &Node,
    catalog: &Catalog,
    wanted: &BTreeMap<GroupId, (Replica, GroupRef<'_>)>,
) {
    let replicas = node.replicas();
    // A replica of the catalog is one until the catalog, as others have it, says that it isn't.
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

/// Whether `replica` is the one that its group is to be recovered from, and no other could make it anew.
fn is_last(catalog: &Catalog, group: GroupId, replica: ReplicaId) -> bool {
    let is_source = catalog.recovered.get(&group).is_some_and(|r| r.to == replica);
    let own = catalog.groups().find(|found| found.group == group);
    is_source && own.is_some_and(|own| own.holders().count() == 1)
}

/// Whether what this node has left of `group` is worth nothing: not where the group was recovered from another replica
/// that isn't seen to go on.
async fn may_be_removed(node: &Node, catalog: &Catalog, group: GroupId) -> bool {
    if group == GroupId::CATALOG {
        // Ids rise, so one that this catalog hasn't given out is of a later one.
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
