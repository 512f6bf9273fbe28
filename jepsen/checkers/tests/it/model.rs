//! A small correct cluster that makes histories: a log with splits and merges, retries, unknown outcomes, trims,
//! readers, lease consumers and a catalog. One seed makes one history.
//!
//! Each process of the run has at most one open call. A call takes effect at one moment between its two events. A call
//! with an unknown outcome takes effect before its event, later, or never.

mod world;

use std::collections::BTreeSet;

use chaos_checkers::history::*;
use chaos_checkers::{Event, Header, History};

use world::{Chain, World};

/// Pseudorandom numbers (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(items.len()).unwrap();
        (count > 0).then(|| &items[usize::try_from(self.below(count)).unwrap()])
    }
}

/// Size and kind of a generated run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) steps: usize,
    /// Whether records are trimmed while the run lasts.
    pub(crate) trims: bool,
    /// Whether calls fail or have unknown outcomes.
    pub(crate) faults: bool,
    /// How many calls change or describe the stream, at most. Linear orders of very many calls are slow to find.
    pub(crate) changes: u64,
}

/// How a call will end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ok,
    Refused,
    /// An unknown outcome, after the call took effect.
    Applied,
    /// An unknown outcome, and the effect comes later or never.
    Late,
}

struct OpenCall {
    call: Call,
    fate: Fate,
    /// How many attempts still take effect.
    effects: u32,
    answer: Option<Result<Answer, String>>,
}

/// The state of a process.
#[derive(Default)]
struct Slot {
    process: u64,
    open: Option<OpenCall>,
    chain: Option<Chain>,
    consumer: Option<world::Consumer>,
    /// A named put with an unknown outcome, which the process sends again.
    again: Option<Put>,
}

const SLOTS: usize = 12;
const MILLISECOND: u64 = 1_000_000;
/// An hour of retention is a second.
const HOUR_MS: u64 = 1000;

struct Run {
    random: Random,
    shape: Shape,
    events: Vec<Event>,
    now: u64,
    world: World,
    slots: Vec<Slot>,
    late: Vec<(Call, u64)>,
    next_uid: u64,
    next_chain: u64,
    catalog_calls: u64,
    change_calls: u64,
}

/// Makes a history.
pub(crate) fn generate(seed: u64, shape: Shape) -> History {
    let header = Header {
        seed,
        hour_ms: Millis(HOUR_MS),
        default_retention_hours: if shape.trims { 2 } else { 1_000_000 },
        wanted: vec![Wanted { fault: "kill".into(), least: 1 }],
        trim_slack_ms: shape.trims.then_some(Millis(1_000_000)),
        ..Header::default()
    };
    let slots = (0..SLOTS).map(|slot| Slot { process: slot as u64, ..Slot::default() });
    let mut run = Run {
        random: Random(seed),
        shape,
        events: Vec::new(),
        now: MILLISECOND,
        world: World::new(header.default_retention_hours),
        slots: slots.collect(),
        late: Vec::new(),
        next_uid: 0,
        next_chain: 0,
        catalog_calls: 0,
        change_calls: 0,
    };
    run.begin();
    (0..shape.steps).for_each(|_| run.step());
    run.finish();
    History::new(header, run.events).unwrap()
}

impl Run {
    fn push(&mut self, kind: Kind) {
        let (index, time) = (self.events.len() as u64, Nanos(self.now));
        self.events.push(Event { index, time, kind });
    }

    fn tick(&mut self) {
        self.now += 1000 + self.random.below(3 * MILLISECOND);
    }

    /// A call that nothing disturbs.
    fn complete_call(&mut self, process: u64, gateway: u64, call: Call) {
        let gateway = Some(gateway);
        self.tick();
        self.push(Kind::Invoke { process, gateway, call: call.clone() });
        self.tick();
        let answer = self.world.apply(&call, self.now, &mut self.random).unwrap();
        self.tick();
        self.push(Kind::Ok { process, gateway, answer });
    }

    fn begin(&mut self) {
        let create = Create { stream: world::stream(), shards: 1, retention_hours: None };
        self.complete_call(99, 1, create.into());
    }

    fn step(&mut self) {
        self.tick();
        match self.random.below(100) {
            0..4 => self.world.end_job(&mut self.random),
            4..8 => self.apply_late(),
            8..12 if self.shape.trims => {
                self.world.trim(self.now, HOUR_MS * MILLISECOND);
                self.now += self.random.below(200) * MILLISECOND;
            }
            12 => self.inject_fault(),
            _ => {
                let slot = usize::try_from(self.random.below(SLOTS as u64)).unwrap();
                self.move_slot(slot);
            }
        }
    }

    fn inject_fault(&mut self) {
        let nodes = vec![self.random.below(3) + 1];
        for phase in [Phase::Start, Phase::Stop] {
            let (name, detail, bit) = ("kill".into(), String::new(), Some(true));
            let nodes = nodes.clone();
            self.push(Kind::Nemesis(Nemesis::Fault(Fault { name, nodes, phase, detail, bit })));
            self.tick();
        }
    }

    fn apply_late(&mut self) {
        if let Some((call, _)) = self.late.pop() {
            drop(self.world.apply(&call, self.now, &mut self.random));
        }
    }

    fn move_slot(&mut self, slot: usize) {
        let gateway = Some(self.random.below(3) + 1);
        let process = self.slots[slot].process;
        let Some(mut open) = self.slots[slot].open.take() else {
            let Some(call) = self.choose(slot) else { return };
            let fate = self.choose_fate(&call);
            let effects = self.choose_effects(&call, fate);
            self.push(Kind::Invoke { process, gateway, call: call.clone() });
            self.slots[slot].open = Some(OpenCall { call, fate, effects, answer: None });
            return;
        };
        if open.effects > 0 {
            open.effects -= 1;
            open.answer = Some(self.apply(slot, &open.call));
            self.slots[slot].open = Some(open);
            return;
        }
        self.complete(slot, gateway, open);
    }

    fn apply(&mut self, slot: usize, call: &Call) -> Result<Answer, String> {
        match (call, &self.slots[slot].chain) {
            (Call::Get(_), Some(chain)) => {
                let limit = 1 + usize::try_from(self.random.below(6)).unwrap();
                let (page, next) = self.world.page(chain, limit);
                self.slots[slot].chain.as_mut().unwrap().pending = next;
                Ok(Answer::Get(page))
            }
            (Call::Iter(iter), _) => {
                self.slots[slot].chain = Some(self.world.open_chain(iter));
                Ok(Answer::Iter(Done {}))
            }
            _ => self.world.apply(call, self.now, &mut self.random),
        }
    }

    fn complete(&mut self, slot: usize, gateway: Option<u64>, open: OpenCall) {
        let process = self.slots[slot].process;
        let function = open.call.function();
        let kind = match (open.fate, open.answer) {
            (Fate::Ok, Some(Ok(answer))) => {
                self.learn(slot, &open.call, &answer);
                Kind::Ok { process, gateway, answer }
            }
            (Fate::Ok, Some(Err(error))) => {
                self.forget(slot, &open.call);
                Kind::Fail { process, gateway, function, error }
            }
            (Fate::Refused, _) => {
                self.forget(slot, &open.call);
                Kind::Fail { process, gateway, function, error: "throttled".into() }
            }
            (Fate::Ok | Fate::Applied | Fate::Late, _) => {
                self.forget(slot, &open.call);
                if let Call::Put(put) = &open.call
                    && put.named
                {
                    self.slots[slot].again = Some(put.clone());
                }
                if open.fate == Fate::Late && self.random.one_in(2) {
                    self.late.push((open.call, process));
                }
                // A process with an unknown call retires, and a new one takes its place.
                self.slots[slot].process += 100;
                Kind::Info { process, gateway, function, error: "timeout".into() }
            }
        };
        self.push(kind);
    }

    /// The client goes on from what it was told.
    fn learn(&mut self, slot: usize, call: &Call, answer: &Answer) {
        let at = &mut self.slots[slot];
        match (call, answer) {
            (Call::Get(_), Answer::Get(page)) => {
                let chain = at.chain.as_mut().unwrap();
                chain.position = chain.pending;
                if !page.next {
                    at.chain = None;
                }
            }
            (Call::LeaseTake(take), Answer::LeaseTake(taken)) => {
                at.consumer = Some(world::Consumer::new(take, taken));
            }
            (Call::Process(process), _) => {
                at.consumer.as_mut().unwrap().last = Some(process.seq);
            }
            (Call::Checkpoint(checkpoint), _) if checkpoint.at == CheckpointAt::ShardEnd => {
                at.consumer = None;
            }
            _ => {}
        }
    }

    /// The client does not know what happened to its iterator or its lease.
    fn forget(&mut self, slot: usize, call: &Call) {
        let at = &mut self.slots[slot];
        match call {
            Call::Iter(_) => at.chain = None,
            Call::LeaseTake(_) | Call::Checkpoint(_) | Call::Process(_) => at.consumer = None,
            _ => {}
        }
    }

    fn choose_fate(&mut self, call: &Call) -> Fate {
        if !self.shape.faults {
            return Fate::Ok;
        }
        // The search for a linear order is slow if many outcomes are unknown.
        let rare = !matches!(call, Call::Put(_) | Call::Puts(_) | Call::Get(_) | Call::Split(_));
        if rare && !self.random.one_in(4) {
            return Fate::Ok;
        }
        match self.random.below(12) {
            0 => Fate::Refused,
            1 => Fate::Applied,
            2 => Fate::Late,
            _ => Fate::Ok,
        }
    }

    /// How often a call takes effect before its event.
    fn choose_effects(&mut self, call: &Call, fate: Fate) -> u32 {
        match (fate, call) {
            (Fate::Refused | Fate::Late, _) => 0,
            (Fate::Ok | Fate::Applied, Call::Put(put)) => {
                1 + u32::try_from(self.random.below(put.budget.into())).unwrap()
            }
            (Fate::Ok | Fate::Applied, _) => 1,
        }
    }

    fn uid(&mut self, slot: usize) -> Uid {
        self.next_uid += 1;
        Uid { process: self.slots[slot].process, counter: self.next_uid }
    }

    fn choose(&mut self, slot: usize) -> Option<Call> {
        Some(match slot {
            0..4 => self.choose_put(slot),
            4..7 => self.choose_read(slot),
            7 => self.choose_change()?,
            8..10 => self.choose_catalog(),
            _ => self.choose_consume(slot)?,
        })
    }

    fn choose_put(&mut self, slot: usize) -> Call {
        let stream = world::stream();
        if let Some(put) = self.slots[slot].again.take() {
            return put.into();
        }
        let entry = |run: &mut Self| {
            let pk = format!("key-{}", run.random.below(50));
            let ehk = run.random.one_in(3).then(|| {
                let high = u128::from(run.random.next());
                HashKey((high << 64) | u128::from(run.random.next()))
            });
            Entry { uid: run.uid(slot), pk, ehk }
        };
        if self.random.one_in(4) {
            let records = (0..3).map(|_| entry(self)).collect();
            return Puts { stream, records, budget: 1, named: false }.into();
        }
        let Entry { uid, pk, ehk } = entry(self);
        let named = self.random.one_in(4);
        let budget = if named || self.random.one_in(4) { 3 } else { 1 };
        Put { stream, uid, pk, ehk, ord: None, api: Api::PutRecord, budget, named }.into()
    }

    fn choose_read(&mut self, slot: usize) -> Call {
        if let Some(chain) = &self.slots[slot].chain
            && !self.random.one_in(12)
        {
            return Get { chain: chain.number, api: GetApi::GetRecords }.into();
        }
        if self.random.one_in(8) {
            return ListShards { stream: world::stream() }.into();
        }
        self.next_chain += 1;
        let (shard, start) = self.world.choose_start(&mut self.random);
        Iter { stream: world::stream(), shard, chain: self.next_chain, start }.into()
    }

    fn choose_change(&mut self) -> Option<Call> {
        let stream = world::stream();
        self.change_calls += 1;
        if self.change_calls > self.shape.changes {
            return None;
        }
        Some(match self.random.below(12) {
            0..3 => self.world.choose_split(&mut self.random)?.into(),
            3 => self.world.choose_merge(&mut self.random)?.into(),
            4 => self.world.choose_scale(&mut self.random)?.into(),
            5 => {
                let most = if self.shape.trims { 3 } else { 1_000_000 };
                Retention { stream, hours: most - self.random.below(2) }.into()
            }
            6..8 => ListShards { stream }.into(),
            _ => Describe { stream }.into(),
        })
    }

    fn choose_catalog(&mut self) -> Call {
        self.catalog_calls += 1;
        let turn = self.catalog_calls / 24;
        let (name, member) = (format!("r{turn}"), format!("m{}", self.random.below(3)));
        let user = format!("u{turn}");
        let action = String::from("put");
        match self.random.below(13) {
            0..2 => {
                let value = Some(format!("v{}", self.catalog_calls));
                Write { register: name, value }.into()
            }
            10..12 => {
                let expected = self.world.choose_expected(&name, &mut self.random);
                let value = format!("v{}", self.catalog_calls);
                CompareAndSet { register: name, expected, value }.into()
            }
            12 => ReadCopies { register: name }.into(),
            2..4 => Read { register: name }.into(),
            4 => AddMember { set: name, member }.into(),
            5 => RemoveMember { set: name, member }.into(),
            6 => ListSet { set: name }.into(),
            7 => Grant { user, action }.into(),
            8 => Revoke { user, action }.into(),
            _ => Attempt { user, action }.into(),
        }
    }

    fn choose_consume(&mut self, slot: usize) -> Option<Call> {
        if self.random.one_in(40) {
            self.slots[slot].consumer = None;
        }
        if self.random.one_in(20) {
            return Some(ListLeases { app: "app".into(), stream: world::stream() }.into());
        }
        match &self.slots[slot].consumer {
            None => self.world.choose_lease(&mut self.random, slot).map(Call::from),
            Some(consumer) => self.world.consume(consumer, &mut self.random),
        }
    }

    /// Ends all open calls, heals, and reads everything.
    fn finish(&mut self) {
        for slot in 0..SLOTS {
            while self.slots[slot].open.is_some() {
                self.tick();
                self.move_slot(slot);
            }
        }
        self.inject_fault();
        self.tick();
        self.push(Kind::Nemesis(Nemesis::Heal {}));
        self.apply_late();
        self.world.commit();
        self.complete_call(99, 1, Describe { stream: world::stream() }.into());
        self.complete_call(99, 1, ListShards { stream: world::stream() }.into());
        let shards: BTreeSet<ShardId> = self.world.ids();
        for shard in shards {
            for node in 1..=3 {
                let stream = world::stream();
                let (call, dump, recover) = (
                    Drain { stream: stream.clone(), shard: shard.clone() },
                    Dump { stream: stream.clone(), shard: shard.clone(), node },
                    Recover { stream, shard: shard.clone() },
                );
                self.complete_call(99, node, recover.into());
                self.complete_call(99, node, call.into());
                self.complete_call(99, node, dump.into());
                if self.random.one_in(4) {
                    self.apply_late();
                }
            }
        }
    }
}
