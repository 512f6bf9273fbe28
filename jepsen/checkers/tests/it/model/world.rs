//! The cluster itself. Each function is one atomic effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chaos_checkers::history::*;

use super::Random;

const MILLISECOND: u64 = 1_000_000;

pub(crate) fn stream() -> StreamName {
    "s".into()
}

fn id_of(number: usize) -> ShardId {
    ShardId(format!("shardId-{number:012}"))
}

fn number_of(id: &ShardId) -> usize {
    id.0.trim_start_matches("shardId-").parse().unwrap()
}

/// The hash key of a partition key, as the harness computes it, too.
fn hash_of(pk: &str) -> u128 {
    use md5::{Digest, Md5};
    u128::from_be_bytes(Md5::digest(pk.as_bytes()).into())
}

struct Stored {
    record: Record,
    /// When it was appended.
    at: u64,
}

struct ShardState {
    range: HashRange,
    parents: Vec<usize>,
    start: Seq,
    end: Option<Seq>,
    log: Vec<Stored>,
    /// How many records are trimmed.
    trimmed: usize,
}

/// A resharding that has begun: the parents, and the hash keys and parents of the children.
struct Job {
    parents: Vec<usize>,
    children: Vec<(HashRange, Vec<usize>)>,
}

/// The reader's side of a chain.
pub(crate) struct Chain {
    pub(crate) number: u64,
    shard: usize,
    pub(crate) position: usize,
    /// The position behind the page that is on its way.
    pub(crate) pending: usize,
}

/// The owner's side of a lease.
pub(crate) struct Consumer {
    shard: ShardId,
    epoch: u64,
    pub(crate) last: Option<Seq>,
    done: bool,
}

impl Consumer {
    pub(crate) fn new(take: &LeaseTake, taken: &LeaseTaken) -> Self {
        let last = match taken.checkpoint {
            Some(CheckpointAt::Seq(seq)) => Some(seq),
            Some(CheckpointAt::ShardEnd) | None => None,
        };
        let done = taken.checkpoint == Some(CheckpointAt::ShardEnd);
        Self { shard: take.shard.clone(), epoch: take.epoch, last, done }
    }
}

#[derive(Default)]
struct Lease {
    epoch: u64,
    checkpoint: Option<CheckpointAt>,
}

pub(crate) struct World {
    shards: Vec<ShardState>,
    next_seq: u64,
    job: Option<Job>,
    hours: u64,
    /// Where named puts are, so that a retry makes no second record.
    named: HashMap<Uid, (usize, Seq)>,
    registers: BTreeMap<String, Option<String>>,
    sets: BTreeMap<String, BTreeSet<String>>,
    rights: BTreeSet<(String, String)>,
    leases: BTreeMap<usize, Lease>,
}

type Outcome<T> = Result<T, String>;

impl World {
    pub(crate) fn new(hours: u64) -> Self {
        Self {
            shards: Vec::new(),
            next_seq: 10,
            job: None,
            hours,
            named: HashMap::new(),
            registers: BTreeMap::new(),
            sets: BTreeMap::new(),
            rights: BTreeSet::new(),
            leases: BTreeMap::new(),
        }
    }

    pub(crate) fn ids(&self) -> BTreeSet<ShardId> {
        (0..self.shards.len()).map(id_of).collect()
    }

    fn seq(&mut self, random: &mut Random) -> Seq {
        self.next_seq += 1 + random.below(5);
        Seq::small(self.next_seq)
    }

    fn open(&self) -> Vec<usize> {
        let mut open: Vec<usize> =
            (0..self.shards.len()).filter(|shard| self.shards[*shard].end.is_none()).collect();
        open.sort_by_key(|shard| self.shards[*shard].range);
        open
    }

    fn append(&mut self, entry: &Entry, now: u64, random: &mut Random) -> (usize, Seq) {
        let key = entry.ehk.unwrap_or_else(|| HashKey(hash_of(&entry.pk)));
        let open = self.open();
        let shard = *open.iter().find(|shard| self.shards[**shard].range.contains(key)).unwrap();
        let seq = self.seq(random);
        let ts = Millis(now / MILLISECOND);
        let record = Record { seq, uid: Some(entry.uid), pk: entry.pk.clone(), ts };
        self.shards[shard].log.push(Stored { record, at: now });
        (shard, seq)
    }

    fn put(&mut self, put: &Put, now: u64, random: &mut Random) -> Answer {
        let entry = Entry { uid: put.uid, pk: put.pk.clone(), ehk: put.ehk };
        let known = self.named.get(&put.uid).copied().filter(|_| put.named);
        let (shard, seq) = known.unwrap_or_else(|| self.append(&entry, now, random));
        if put.named {
            self.named.insert(put.uid, (shard, seq));
        }
        Answer::Put(chaos_checkers::history::Stored {
            shard: id_of(shard),
            seq,
            attempts: put.budget,
        })
    }

    fn puts(&mut self, puts: &Puts, now: u64, random: &mut Random) -> Answer {
        let results = puts.records.iter().map(|entry| match random.below(8) {
            0 => EntryResult::Refused { err: "throttled".into() },
            1 => {
                if random.one_in(2) {
                    self.append(entry, now, random);
                }
                EntryResult::Unknown { err: "internal".into() }
            }
            _ => {
                let (shard, seq) = self.append(entry, now, random);
                EntryResult::Stored { shard: id_of(shard), seq }
            }
        });
        let results = results.collect();
        Answer::Puts(PutsResults { results, attempts: 1 })
    }

    /// The effect of a call. An error means that the call fails and changes nothing.
    pub(crate) fn apply(&mut self, call: &Call, now: u64, random: &mut Random) -> Outcome<Answer> {
        Ok(match call {
            Call::Put(put) => self.put(put, now, random),
            Call::Puts(puts) => self.puts(puts, now, random),
            Call::Create(create) => self.create(create),
            Call::Shards(_) => self.list(),
            Call::Split(split) => self.begin(self.plan_split(split)).map(Answer::Split)?,
            Call::Merge(merge) => self.begin(self.plan_merge(merge)).map(Answer::Merge)?,
            Call::Scale(scale) => self.begin(self.plan_scale(scale)).map(Answer::Scale)?,
            Call::Describe(_) => Answer::Describe(StreamStatus {
                status: if self.job.is_some() { Status::Updating } else { Status::Active },
                open_shards: u32::try_from(self.open().len()).unwrap(),
                retention_hours: self.hours,
            }),
            Call::Retention(retention) => {
                self.hours = retention.hours;
                Answer::Retention(Done {})
            }
            Call::Drain(drain) => {
                let shard = &self.shards[number_of(&drain.shard)];
                let records = shard.log[shard.trimmed..].iter().map(|at| at.record.clone());
                Answer::Drain(Drained { records: records.collect() })
            }
            Call::Dump(_) => {
                let hash = String::from("hash");
                Answer::Dump(Dumped { applied: 9, first: 1, count: 9, hash })
            }
            Call::Recover(_) => Answer::Recover(Recovered { ms: random.below(20_000) }),
            Call::LeaseTake(_)
            | Call::Checkpoint(_)
            | Call::Process(_)
            | Call::Renew(_)
            | Call::Leases(_) => self.lease(call)?,
            Call::Cas(_)
            | Call::Copies(_)
            | Call::Write(_)
            | Call::Read(_)
            | Call::Add(_)
            | Call::Remove(_)
            | Call::List(_)
            | Call::Grant(_)
            | Call::Revoke(_)
            | Call::Attempt(_) => self.catalog(call)?,
            Call::Iter(_) => Answer::Iter(Done {}),
            Call::Get(_)
            | Call::Delete(_)
            | Call::Membership(_)
            | Call::Assigned(_)
            | Call::RecoverLease(_) => return Err("not here".into()),
        })
    }

    fn create(&mut self, create: &Create) -> Answer {
        assert_eq!(create.shards, 1);
        self.shards.push(ShardState {
            range: HashRange::ALL,
            parents: Vec::new(),
            start: Seq::small(1),
            end: None,
            log: Vec::new(),
            trimmed: 0,
        });
        Answer::Create(Done {})
    }

    fn list(&self) -> Answer {
        let shards = self.shards.iter().enumerate().map(|(number, shard)| Shard {
            shard: id_of(number),
            parents: shard.parents.iter().copied().map(id_of).collect(),
            range: shard.range,
            start: shard.start,
            end: shard.end,
        });
        Answer::Shards(Shards { shards: shards.collect() })
    }

    fn catalog(&mut self, call: &Call) -> Outcome<Answer> {
        Ok(match call {
            Call::Write(write) => {
                self.registers.insert(write.register.clone(), write.value.clone());
                Answer::Write(Done {})
            }
            Call::Read(read) => {
                let value = self.registers.get(&read.register).cloned().flatten();
                Answer::Read(ReadValue { value })
            }
            Call::Cas(cas) => {
                let value = self.registers.get(&cas.register).cloned().flatten();
                let swapped = value == cas.expected;
                if swapped {
                    self.registers.insert(cas.register.clone(), Some(cas.value.clone()));
                }
                Answer::Cas(Swapped { swapped, found: (!swapped).then_some(ReadValue { value }) })
            }
            Call::Copies(read) => {
                let value = self.registers.get(&read.register).cloned().flatten();
                Answer::Copies(Copies { values: vec![value; 3] })
            }
            Call::Add(add) => {
                let set = self.sets.entry(add.set.clone()).or_default();
                let is_new = set.insert(add.member.clone());
                is_new.then_some(Answer::Add(Done {})).ok_or("exists")?
            }
            Call::Remove(remove) => {
                let set = self.sets.entry(remove.set.clone()).or_default();
                let was_there = set.remove(&remove.member);
                was_there.then_some(Answer::Remove(Done {})).ok_or("absent")?
            }
            Call::List(list) => {
                let members = self.sets.get(&list.set).into_iter().flatten().cloned().collect();
                Answer::List(Members { members })
            }
            Call::Grant(grant) => {
                self.rights.insert((grant.user.clone(), grant.action.clone()));
                Answer::Grant(Done {})
            }
            Call::Revoke(revoke) => {
                self.rights.remove(&(revoke.user.clone(), revoke.action.clone()));
                Answer::Revoke(Done {})
            }
            Call::Attempt(attempt) => {
                let right = (attempt.user.clone(), attempt.action.clone());
                Answer::Attempt(Attempted { allowed: self.rights.contains(&right) })
            }
            _ => return Err("not a call of the catalog".into()),
        })
    }

    fn lease(&mut self, call: &Call) -> Outcome<Answer> {
        Ok(match call {
            Call::LeaseTake(take) => {
                let lease = self.leases.entry(number_of(&take.shard)).or_default();
                if take.epoch <= lease.epoch {
                    return Err("taken".into());
                }
                lease.epoch = take.epoch;
                Answer::LeaseTake(LeaseTaken { checkpoint: lease.checkpoint })
            }
            Call::Checkpoint(checkpoint) => {
                let lease = self.leases.entry(number_of(&checkpoint.shard)).or_default();
                if checkpoint.epoch != lease.epoch {
                    return Err("fenced".into());
                }
                if Some(checkpoint.at) < lease.checkpoint {
                    return Err("old".into());
                }
                lease.checkpoint = Some(checkpoint.at);
                Answer::Checkpoint(Done {})
            }
            Call::Renew(renew) => {
                let lease = self.leases.entry(number_of(&renew.shard)).or_default();
                if renew.epoch != lease.epoch {
                    return Err("fenced".into());
                }
                Answer::Renew(Done {})
            }
            Call::Leases(_) => {
                let leases =
                    self.leases.iter().map(|(number, lease)| chaos_checkers::history::Lease {
                        shard: id_of(*number),
                        owner: None,
                        checkpoint: lease.checkpoint,
                    });
                Answer::Leases(Leases { leases: leases.collect() })
            }
            _ => Answer::Process(Done {}),
        })
    }

    /// The value of a register, or now and then another one.
    pub(crate) fn choose_expected(&self, register: &str, random: &mut Random) -> Option<String> {
        let value = self.registers.get(register).cloned().flatten();
        if random.one_in(4) { Some("other".into()) } else { value }
    }

    fn begin(&mut self, job: Option<Job>) -> Outcome<Done> {
        if self.job.is_some() {
            return Err("ResourceInUseException".into());
        }
        self.job = Some(job.ok_or("InvalidArgumentException")?);
        Ok(Done {})
    }

    fn plan_split(&self, split: &Split) -> Option<Job> {
        let parent = number_of(&split.shard);
        let shard = &self.shards[parent];
        if shard.end.is_some() || split.at <= shard.range.start || split.at > shard.range.end {
            return None;
        }
        let left = HashRange { start: shard.range.start, end: HashKey(split.at.0 - 1) };
        let right = HashRange { start: split.at, end: shard.range.end };
        let children = vec![(left, vec![parent]), (right, vec![parent])];
        Some(Job { parents: vec![parent], children })
    }

    fn are_mergeable(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.shards[a], &self.shards[b]);
        let adjacent = a.range.end.0.checked_add(1) == Some(b.range.start.0);
        a.end.is_none() && b.end.is_none() && adjacent
    }

    fn plan_merge(&self, merge: &Merge) -> Option<Job> {
        let (a, b) = (number_of(&merge.a), number_of(&merge.b));
        let range = HashRange { start: self.shards[a].range.start, end: self.shards[b].range.end };
        let job = Job { parents: vec![a, b], children: vec![(range, vec![a, b])] };
        self.are_mergeable(a, b).then_some(job)
    }

    /// Makes three shards from the first two: the second child has parts of both parents.
    fn plan_scale(&self, scale: &Scale) -> Option<Job> {
        let open = self.open();
        let (a, b) = (*open.first()?, *open.get(1)?);
        let is_as_asked = scale.count as usize == open.len() + 1;
        let (first, second) = (self.shards[a].range, self.shards[b].range);
        if !is_as_asked || first.end.0 - first.start.0 < 9 || second.end.0 - second.start.0 < 9 {
            return None;
        }
        let (left, right) = (HashKey(first.end.0 - 3), HashKey(second.start.0 + 3));
        let middle = HashRange { start: HashKey(left.0 + 1), end: HashKey(right.0 - 1) };
        let children = vec![
            (HashRange { start: first.start, end: left }, vec![a]),
            (middle, vec![a, b]),
            (HashRange { start: right, end: second.end }, vec![b]),
        ];
        Some(Job { parents: vec![a, b], children })
    }

    /// Commits the resharding that is under way, or gives it up.
    pub(crate) fn end_job(&mut self, random: &mut Random) {
        if random.one_in(6) { self.job = None } else { self.commit() }
    }

    pub(crate) fn commit(&mut self) {
        let Some(job) = self.job.take() else { return };
        self.next_seq += 1;
        let end = Seq::small(self.next_seq);
        self.next_seq += 1;
        let start = Seq::small(self.next_seq);
        for parent in &job.parents {
            self.shards[*parent].end = Some(end);
        }
        for (range, parents) in job.children {
            let (log, trimmed, end) = (Vec::new(), 0, None);
            self.shards.push(ShardState { range, parents, start, end, log, trimmed });
        }
    }

    /// Trims what is older than the retention.
    pub(crate) fn trim(&mut self, now: u64, hour: u64) {
        for shard in &mut self.shards {
            let keeps = |stored: &Stored| now - stored.at < self.hours * hour;
            let old = shard.log.partition_point(|stored| !keeps(stored));
            shard.trimmed = shard.trimmed.max(old);
        }
    }

    pub(crate) fn open_chain(&self, iter: &Iter) -> Chain {
        let number = number_of(&iter.shard);
        let shard = &self.shards[number];
        let first = |is_before: &dyn Fn(&Record) -> bool| {
            shard.log.partition_point(|stored| is_before(&stored.record))
        };
        let position = match iter.start {
            IterStart::TrimHorizon => shard.trimmed,
            IterStart::Latest => shard.log.len(),
            IterStart::AtSequenceNumber(seq) => first(&|record| record.seq < seq),
            IterStart::AfterSequenceNumber(seq) => first(&|record| record.seq <= seq),
            IterStart::AtTimestamp(ts) => first(&|record| record.ts < ts),
        };
        Chain { number: iter.chain, shard: number, position, pending: position }
    }

    /// The page at a position, and the position behind it.
    pub(crate) fn page(&self, chain: &Chain, limit: usize) -> (Page, usize) {
        let shard = &self.shards[chain.shard];
        let from = chain.position.max(shard.trimmed);
        let to = (from + limit).min(shard.log.len());
        let records = shard.log[from..to].iter().map(|stored| stored.record.clone()).collect();
        let at_tip = to == shard.log.len();
        let ends = at_tip && shard.end.is_some();
        let behind_ms = u64::from(!at_tip);
        let children = if ends { self.children(chain.shard) } else { Vec::new() };
        (Page { records, next: !ends, behind_ms, children }, to)
    }

    fn children(&self, parent: usize) -> Vec<Child> {
        let shards = self.shards.iter().enumerate();
        let children = shards.filter(|(_, shard)| shard.parents.contains(&parent));
        let children = children.map(|(number, shard)| Child {
            shard: id_of(number),
            parents: shard.parents.iter().copied().map(id_of).collect(),
            range: shard.range,
        });
        children.collect()
    }

    pub(crate) fn choose_start(&self, random: &mut Random) -> (ShardId, IterStart) {
        let number = usize::try_from(random.below(self.shards.len() as u64)).unwrap();
        let seqs = &self.shards[number].log;
        let start = match (random.below(6), random.pick(seqs)) {
            (0, _) => IterStart::Latest,
            (1, Some(stored)) => IterStart::AtSequenceNumber(stored.record.seq),
            (2, Some(stored)) => IterStart::AfterSequenceNumber(stored.record.seq),
            (3, Some(stored)) => IterStart::AtTimestamp(stored.record.ts),
            _ => IterStart::TrimHorizon,
        };
        (id_of(number), start)
    }

    pub(crate) fn choose_split(&self, random: &mut Random) -> Option<Split> {
        if self.shards.len() > 40 {
            return None;
        }
        let open = self.open();
        let shard = *random.pick(&open)?;
        let range = self.shards[shard].range;
        let at = HashKey(range.start.0 + (range.end.0 - range.start.0) / 2 + 1);
        Some(Split { stream: stream(), shard: id_of(shard), at })
    }

    pub(crate) fn choose_merge(&self, random: &mut Random) -> Option<Merge> {
        let open = self.open();
        let pairs: Vec<&[usize]> = open.windows(2).collect();
        let pair = random.pick(&pairs)?;
        Some(Merge { stream: stream(), a: id_of(pair[0]), b: id_of(pair[1]) })
    }

    pub(crate) fn choose_scale(&self, random: &mut Random) -> Option<Scale> {
        let count = u32::try_from(self.open().len()).unwrap() + 1;
        (self.shards.len() < 40 && !random.one_in(4)).then(|| Scale { stream: stream(), count })
    }

    /// A shard whose parents were finished.
    pub(crate) fn choose_lease(&self, random: &mut Random, slot: usize) -> Option<LeaseTake> {
        let is_finished = |shard: &usize| {
            let checkpoint = self.leases.get(shard).and_then(|lease| lease.checkpoint);
            checkpoint == Some(CheckpointAt::ShardEnd)
        };
        let ready: Vec<usize> = (0..self.shards.len())
            .filter(|shard| self.shards[*shard].parents.iter().all(is_finished))
            .filter(|shard| !is_finished(shard))
            .collect();
        let shard = *random.pick(&ready)?;
        let epoch = self.leases.get(&shard).map_or(0, |lease| lease.epoch) + 1;
        let (app, owner) = ("app".into(), format!("owner-{slot}"));
        Some(LeaseTake { app, stream: stream(), shard: id_of(shard), epoch, owner })
    }

    /// The next call of the owner of a lease: a record, a checkpoint, or nothing.
    pub(crate) fn consume(&self, consumer: &Consumer, random: &mut Random) -> Option<Call> {
        if consumer.done {
            return None;
        }
        let shard = &self.shards[number_of(&consumer.shard)];
        let (app, epoch) = (String::from("app"), consumer.epoch);
        let (stream, id) = (stream(), consumer.shard.clone());
        let behind = shard.log.partition_point(|stored| Some(stored.record.seq) <= consumer.last);
        let next = shard.log.get(behind.max(shard.trimmed));
        let checkpoint = |at| {
            let (app, stream, shard) = (app.clone(), stream.clone(), id.clone());
            let (owner, back, release) = (String::new(), false, false);
            Some(Checkpoint { app, stream, shard, epoch, at, owner, back, release }.into())
        };
        if random.one_in(20) {
            let (app, stream, shard) = (app.clone(), stream.clone(), id.clone());
            return Some(Renew { app, stream, shard, epoch, owner: String::new() }.into());
        }
        match next {
            None if shard.end.is_some() => checkpoint(CheckpointAt::ShardEnd),
            Some(stored) if !random.one_in(4) => {
                let (uid, seq) = (stored.record.uid.unwrap(), stored.record.seq);
                Some(Process { app, stream, shard: id, epoch, uid, seq }.into())
            }
            _ => checkpoint(CheckpointAt::Seq(consumer.last?)),
        }
    }
}
