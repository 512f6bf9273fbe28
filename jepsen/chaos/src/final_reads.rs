//! The reads after the last heal: the first put and read of each shard, every shard to its end through every
//! gateway, and the replicas of every shard.

use std::time::Duration;

use anabranch_proto::admin::Group;
use anabranch_proto::v1::log_service_client::LogServiceClient;
use anabranch_proto::v1::{Position, ReadRequest};
use anyhow::{Context, Result, ensure};
use chaos_checkers::history::{
    Answer, Api, Drain, Drained, Dump, Dumped, HashKey, IterStart, Put, Recover, Recovered, Shard,
    Status, StreamName, Uid,
};
use chaos_lab::NodeNumber;
use md5::{Digest, Md5};
use tokio::time::{Instant, sleep};

use crate::admin::Admin;
use crate::kinesis::Failure;
use crate::scene::Scene;
use crate::session::Session;

/// Longest time until a shard takes a put and shows it.
const LONGEST: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(100);
/// Largest answer of a read of a replica.
const ANSWER_BYTES: usize = 64 << 20;

/// Puts a record to every open shard of the streams through every gateway, and reads it there.
pub(crate) async fn recover(scene: &Scene, streams: &[StreamName], healed: Instant) {
    let mut shards = Vec::new();
    for stream in streams {
        wait_until_active(scene, stream, healed).await;
        let open = open_shards(scene, stream, healed).await;
        if open.is_empty() {
            record_loss(scene, stream);
        }
        shards.extend(open.into_iter().map(|shard| (stream, shard)));
    }
    let gateways = scene.gateways.clone();
    let each =
        shards.iter().flat_map(|shard| gateways.iter().map(move |gateway| (shard, *gateway)));
    let recoveries =
        each.map(|((stream, shard), gateway)| recover_one(scene, stream, shard, gateway, healed));
    futures::future::join_all(recoveries).await;
}

/// Records that no shard of a stream took a put, because no gateway lists any.
fn record_loss(scene: &Scene, stream: &StreamName) {
    for gateway in scene.gateways.iter() {
        let mut session = scene.session("recovery", 0).at(*gateway);
        session.begin(Recover { stream: stream.clone(), shard: "shardId-000000000000".into() });
        let refused = Err(Failure::Refused("no gateway lists a shard of the stream".into()));
        // The history has the outcome.
        let _recorded = session.end(refused, Answer::Recover);
    }
}

async fn wait_until_active(scene: &Scene, stream: &StreamName, healed: Instant) {
    let mut session = scene.session("recovery status", 0);
    while healed.elapsed() < LONGEST {
        let described = session.describe(stream).await;
        if described.is_ok_and(|described| described.status == Status::Active) {
            return;
        }
        sleep(AGAIN).await;
    }
}

async fn open_shards(scene: &Scene, stream: &StreamName, healed: Instant) -> Vec<Shard> {
    let mut session = scene.session("recovery list", 0);
    loop {
        match session.shards(stream).await {
            Ok(listed) => {
                return listed.shards.into_iter().filter(|shard| shard.end.is_none()).collect();
            }
            Err(_) if healed.elapsed() > LONGEST => return Vec::new(),
            Err(_) => sleep(AGAIN).await,
        }
    }
}

async fn recover_one(
    scene: &Scene,
    stream: &StreamName,
    shard: &Shard,
    gateway: NodeNumber,
    healed: Instant,
) {
    let mut outer = scene.session("recovery", 0).at(gateway);
    let mut inner = scene.session("recovery calls", 0).at(gateway);
    let call = Recover { stream: stream.clone(), shard: shard.shard.clone() };
    let work = async {
        loop {
            match put_and_read(&mut inner, stream, shard).await {
                Ok(()) => break,
                Err(failure) if healed.elapsed() > LONGEST => return Err(failure),
                Err(_) => sleep(AGAIN).await,
            }
        }
        Ok(Recovered { ms: u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX) })
    };
    // The history has the outcome.
    let _recorded = outer.run(call, Answer::Recover, async |_connection| work.await).await;
}

async fn put_and_read(
    session: &mut Session,
    stream: &StreamName,
    shard: &Shard,
) -> Result<(), Failure> {
    let uid = Uid { process: session.process(), counter: session.next_record() };
    let put = Put {
        stream: stream.clone(),
        uid,
        pk: "recovery".into(),
        ehk: Some(HashKey(shard.range.start.0)),
        ord: None,
        api: Api::PutRecord,
        budget: 1,
        named: false,
    };
    let stored = session.put(put, 64).await?;
    let iterator =
        session.iter(stream, &stored.shard, IterStart::AtSequenceNumber(stored.seq)).await?;
    let (page, _) = session.get(iterator).await?;
    match page.records.iter().any(|record| record.uid == Some(uid)) {
        true => Ok(()),
        false => Err(Failure::Unknown("the record is not shown yet".into())),
    }
}

/// Reads every shard of the streams to its end through every gateway, all at the same time.
pub(crate) async fn drain(scene: &Scene, admin: &Admin, streams: &[StreamName]) {
    let groups = admin.groups().await;
    let mut drains = Vec::new();
    for stream in streams {
        if groups.as_ref().is_ok_and(|groups| groups.iter().all(|group| group.stream != stream.0)) {
            record_empty(scene, stream);
            continue;
        }
        let shards = scene.session("drain list", 0).shards(stream).await;
        for shard in shards.map(|listed| listed.shards).unwrap_or_default() {
            for gateway in scene.gateways.iter() {
                let session = scene.session("drain", 0).at(*gateway);
                drains.push(drain_one(session, stream, shard.clone()));
            }
        }
    }
    futures::future::join_all(drains).await;
}

/// Records that nothing can be read from a stream, because the cluster has no replica of any shard of it.
fn record_empty(scene: &Scene, stream: &StreamName) {
    for gateway in scene.gateways.iter() {
        let mut session = scene.session("drain", 0).at(*gateway);
        session.begin(Drain { stream: stream.clone(), shard: "shardId-000000000000".into() });
        // The history has the outcome.
        let _recorded = session.end(Ok(Drained { records: Vec::new() }), Answer::Drain);
    }
}

async fn drain_one(mut session: Session, stream: &StreamName, shard: Shard) {
    // The history has the outcome.
    let _recorded = session.drain(stream, &shard.shard).await;
}

/// Reads the replicas of every shard of the streams.
pub(crate) async fn dump(scene: &Scene, admin: &Admin, streams: &[StreamName]) -> Result<()> {
    let groups = admin.groups().await?;
    let wanted = |group: &&Group| streams.iter().any(|stream| stream.0 == group.stream);
    let dumps = groups.iter().filter(wanted).flat_map(|group| {
        group.replicas.iter().map(move |replica| dump_one(scene, admin, group, replica.node))
    });
    futures::future::join_all(dumps).await;
    Ok(())
}

async fn dump_one(scene: &Scene, admin: &Admin, group: &Group, node: u64) {
    let mut session = scene.session("dump", node);
    let stream = StreamName::from(&*group.stream);
    let call = Dump { stream, shard: group.shard.as_str().into(), node };
    let work = async {
        let deadline = Instant::now() + LONGEST;
        loop {
            match read_replica(admin, group.group, node).await {
                Ok(dumped) => return Ok(dumped),
                Err(error) if Instant::now() > deadline => {
                    return Err(Failure::Refused(format!("{error:#}")));
                }
                Err(_) => sleep(AGAIN).await,
            }
        }
    };
    let _recorded = session.run_native(call, Answer::Dump, work).await;
}

/// All records of one replica, as one hash. The replica must have applied everything that its leader has, and nothing
/// more may come meanwhile.
async fn read_replica(admin: &Admin, group: u64, node: u64) -> Result<Dumped> {
    let before = applied(admin, group, node).await?;
    let number = NodeNumber(u8::try_from(node)?);
    let mut client =
        LogServiceClient::new(admin.channel(number)?).max_decoding_message_size(ANSWER_BYTES);
    let (mut from, mut hash) = (Position::default(), [0; 16]);
    let (mut first, mut count) = (None, 0);
    loop {
        let request =
            ReadRequest { group, from: Some(from), leader_only: false, ..Default::default() };
        let page = client.read(request).await?.into_inner();
        for batch in &page.batches {
            first.get_or_insert(batch.log_index);
            count += u64::from(batch.records);
            hash = chained(hash, batch.log_index, batch.arrival_millis, &batch.batch);
        }
        if page.batches.is_empty() {
            break;
        }
        from = page.next.context("a page without its end")?;
    }
    let after = applied(admin, group, node).await?;
    ensure!(before == after, "the log grew meanwhile");
    let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Dumped { applied: after, first: first.unwrap_or_default(), count, hash })
}

fn chained(before: [u8; 16], log_index: u64, arrival: u64, batch: &[u8]) -> [u8; 16] {
    let mut hasher = Md5::new();
    hasher.update(before);
    hasher.update(log_index.to_be_bytes());
    hasher.update(arrival.to_be_bytes());
    hasher.update(batch);
    hasher.finalize().into()
}

/// The last entry that the replica has applied, if its leader has no more.
async fn applied(admin: &Admin, group: u64, node: u64) -> Result<u64> {
    let group = admin.group(group).await?;
    let replica = group.replicas.iter().find(|replica| replica.node == node);
    let own =
        replica.and_then(|replica| replica.applied_index).context("the replica did not answer")?;
    ensure!(
        group.last_index == Some(own),
        "the replica has applied {own} of {:?}",
        group.last_index
    );
    Ok(own)
}
