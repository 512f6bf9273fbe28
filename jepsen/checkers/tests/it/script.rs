//! A small language for hand-made histories. Each line is a call with its result, half of a call, or an event.
//!
//! ```text
//! p1 put 1-1 -> 0@10              process 1 puts record 1-1; shard 0 stores it at number 10
//! p1/g2 put 1-2                   process 1 begins a call through gateway 2
//! p1 -> info                      and its outcome is unknown (or `fail ERROR`, or a result)
//! p2 iter c1 0 trim -> ok         chain 1 of shard 0 (trim, latest, at=N, after=N, time=N)
//! p2 get c1 -> 10:1-1 11:?        number and record; `?` is damage; options behind=N, end, kids=SHARD;SHARD
//! p3 shards -> 0:0..max:1..50 1:0..mid-:51<0     shard, hash keys, start, end, parents
//! p4 watch c1 ann -> 0:7:none     a group gives shard 0 to ann, epoch 7, no checkpoint
//! p4 cas r a b -> found=c         register r does not have the value a, but c (`ok`, `no`, `found=VALUE`)
//! wait 40s                        also h
//! * fault kill 2 start bit        an event without a process
//! header {"seed":1}
//! nodrain                         no full read is added at the end
//! ```
//!
//! Each line takes a millisecond. Without `nodrain`, full reads of all shards with known records end the history,
//! unless the script has one for the shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chaos_checkers::history::*;
use chaos_checkers::{Event, Header, History};

const MILLISECOND: u64 = 1_000_000;

/// Makes the history of a script.
pub(crate) fn history(script: &str) -> History {
    let mut story = Story::default();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        story.line(line);
    }
    story.add_drains();
    History::new(story.header, story.events).unwrap_or_else(|error| panic!("{error}:\n{script}"))
}

#[derive(Default)]
struct Story {
    header: Header,
    events: Vec<Event>,
    now: u64,
    keys: HashMap<Uid, String>,
    /// The open call of each process, with its gateway.
    open: HashMap<u64, (Call, Option<u64>)>,
    chains: HashMap<u64, String>,
    known: BTreeMap<String, BTreeMap<Seq, Record>>,
    drained: BTreeSet<String>,
    no_drains: bool,
}

/// The words of a call: plain ones in order, and those with `=`.
struct Words<'a> {
    plain: Vec<&'a str>,
    named: HashMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(text: &'a str) -> Self {
        let (named, plain): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|word| word.contains('='));
        Self { plain, named: named.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn has(&self, word: &str) -> bool {
        self.plain.contains(&word)
    }

    fn number<T: std::str::FromStr>(&self, place: usize) -> T {
        number(self.plain[place])
    }

    fn stream(&self) -> StreamName {
        (*self.named.get("stream").unwrap_or(&"s")).into()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("not a number: {text}"))
}

pub(crate) fn shard_id(text: &str) -> ShardId {
    ShardId(format!("shardId-{:012}", number::<u64>(text)))
}

fn hash_key(text: &str) -> HashKey {
    match text {
        "max" => HashKey(u128::MAX),
        "mid" => HashKey(1 << 127),
        "mid-" => HashKey((1 << 127) - 1),
        text => number(text),
    }
}

impl Story {
    fn push(&mut self, kind: Kind) {
        self.now += MILLISECOND;
        let index = self.events.len() as u64;
        self.events.push(Event { index, time: Nanos(self.now), kind });
    }

    fn line(&mut self, line: &str) {
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        match head {
            "header" => self.header = serde_json::from_str(rest).unwrap(),
            "nodrain" => self.no_drains = true,
            "wait" => self.wait(rest),
            "*" => self.report(rest),
            _ => self.call(head, rest),
        }
    }

    fn wait(&mut self, text: &str) {
        let (count, unit) = text.split_at(text.len() - 1);
        let seconds = if unit == "h" { 3600 } else { 1 };
        self.now += number::<u64>(count) * seconds * 1000 * MILLISECOND;
    }

    fn call(&mut self, who: &str, rest: &str) {
        let (process, gateway) = who.split_once('/').unwrap_or((who, "g1"));
        let (process, gateway) = (number(&process[1..]), Some(number(&gateway[1..])));
        let (call, result) = match rest.split_once("->") {
            Some((call, result)) => (call.trim(), Some(result.trim())),
            None => (rest, None),
        };
        if !call.is_empty() {
            let call = self.parse_call(call);
            self.open.insert(process, (call.clone(), gateway));
            self.push(Kind::Invoke { process, gateway, call });
        }
        let Some(result) = result else { return };
        let (call, gateway) = self.open.remove(&process).expect("an open call");
        let function = call.function();
        let kind = match result.split_once(' ').unwrap_or((result, "")) {
            ("info", "") => Kind::Info { process, gateway, function, error: "timeout".into() },
            ("fail", error) => Kind::Fail { process, gateway, function, error: error.into() },
            _ => Kind::Ok { process, gateway, answer: self.parse_answer(&call, result) },
        };
        self.push(kind);
    }

    fn entry(&mut self, uid: &str, words: &Words<'_>) -> Entry {
        let uid: Uid = number(uid);
        let pk = (*words.named.get("key").unwrap_or(&"k")).to_owned();
        self.keys.insert(uid, pk.clone());
        Entry { uid, pk, ehk: words.named.get("ehk").map(|text| hash_key(text)) }
    }

    fn parse_call(&mut self, text: &str) -> Call {
        let words = Words::of(text);
        let stream = words.stream();
        let text_at = |place: usize| words.plain[place].to_owned();
        let shard_at = |place: usize| shard_id(words.plain[place]);
        let budget = words.named.get("budget").map_or(1, |text| number(text));
        let named = words.has("named");
        match words.plain[0] {
            "put" => {
                let Entry { uid, pk, ehk } = self.entry(words.plain[1], &words);
                let ord = words.named.get("ord").map(|text| number(text));
                let api = Api::PutRecord;
                Call::Put(Put { stream, uid, pk, ehk, ord, api, budget, named })
            }
            "puts" => {
                let uids = words.plain[1..].iter().filter(|word| **word != "named");
                let records = uids.map(|uid| self.entry(uid, &words)).collect();
                Call::Puts(Puts { stream, records, budget, named })
            }
            "iter" => {
                let chain = number(&words.plain[1][1..]);
                self.chains.insert(chain, words.plain[2].to_owned());
                Call::Iter(Iter { stream, shard: shard_at(2), chain, start: start(&words) })
            }
            "get" => {
                let api = match words.named.get("api") {
                    Some(&"push") => GetApi::Push,
                    _ => GetApi::GetRecords,
                };
                Call::Get(Get { chain: number(&words.plain[1][1..]), api })
            }
            "shards" => Call::Shards(ListShards { stream }),
            "split" => {
                let at = hash_key(words.named["at"]);
                Call::Split(Split { stream, shard: shard_at(1), at })
            }
            "merge" => Call::Merge(Merge { stream, a: shard_at(1), b: shard_at(2) }),
            "scale" => Call::Scale(Scale { stream, count: words.number(1) }),
            "create" => {
                let retention_hours = words.named.get("hours").map(|text| number(text));
                Call::Create(Create { stream, shards: words.number(1), retention_hours })
            }
            "delete" => Call::Delete(Delete { stream }),
            "describe" => Call::Describe(Describe { stream }),
            "retention" => Call::Retention(Retention { stream, hours: words.number(1) }),
            "write" => Call::Write(Write { register: text_at(1), value: Some(text_at(2)) }),
            "read" => Call::Read(Read { register: text_at(1) }),
            "add" => Call::Add(AddMember { set: text_at(1), member: text_at(2) }),
            "remove" => Call::Remove(RemoveMember { set: text_at(1), member: text_at(2) }),
            "list" => Call::List(ListSet { set: text_at(1) }),
            "grant" => Call::Grant(Grant { user: text_at(1), action: text_at(2) }),
            "revoke" => Call::Revoke(Revoke { user: text_at(1), action: text_at(2) }),
            "attempt" => Call::Attempt(Attempt { user: text_at(1), action: text_at(2) }),
            "take" => Call::LeaseTake(LeaseTake {
                app: "app".into(),
                stream,
                shard: shard_at(1),
                epoch: words.number(2),
                owner: text_at(3),
            }),
            "checkpoint" => Call::Checkpoint(Checkpoint {
                app: "app".into(),
                stream,
                shard: shard_at(1),
                epoch: words.number(2),
                at: words.number(3),
                owner: (*words.named.get("owner").unwrap_or(&"")).to_owned(),
                back: words.has("back"),
                release: words.has("release"),
            }),
            "renew" => Call::Renew(Renew {
                app: "app".into(),
                stream,
                shard: shard_at(1),
                epoch: words.number(2),
                owner: text_at(3),
            }),
            "leases" => Call::Leases(ListLeases { app: "app".into(), stream }),
            "member" => Call::Membership(Membership {
                app: "app".into(),
                stream,
                member: text_at(1),
                action: serde_json::from_str(&format!("{:?}", words.plain[2])).unwrap(),
            }),
            "watch" => Call::Assigned(WatchShards {
                app: "app".into(),
                stream,
                member: text_at(2),
                chain: number(&words.plain[1][1..]),
            }),
            "recover-lease" => {
                Call::RecoverLease(RecoverLease { app: "app".into(), stream, shard: shard_at(1) })
            }
            "cas" => Call::Cas(CompareAndSet {
                register: text_at(1),
                expected: Some(text_at(2)).filter(|text| text != "none"),
                value: text_at(3),
            }),
            "copies" => Call::Copies(ReadCopies { register: text_at(1) }),
            "process" => Call::Process(Process {
                app: "app".into(),
                stream,
                shard: shard_at(1),
                epoch: words.number(2),
                uid: words.number(3),
                seq: words.number(4),
            }),
            "drain" => {
                self.drained.insert(words.plain[1].to_owned());
                Call::Drain(Drain { stream, shard: shard_at(1) })
            }
            "dump" => Call::Dump(Dump { stream, shard: shard_at(1), node: words.number(2) }),
            "recover" => Call::Recover(Recover { stream, shard: shard_at(1) }),
            other => panic!("no such call: {other}"),
        }
    }

    fn parse_answer(&mut self, call: &Call, text: &str) -> Answer {
        let words = Words::of(text);
        match call {
            Call::Put(put) => {
                let (shard, seq) = self.stored(words.plain[0], put.uid);
                let attempts = words.plain.get(1).map_or(1, |text| number(&text[1..]));
                Answer::Put(Stored { shard, seq, attempts })
            }
            Call::Puts(puts) => {
                let results = puts.records.iter().zip(&words.plain);
                let results = results.map(|(entry, word)| match *word {
                    "fail" => EntryResult::Refused { err: "throttled".into() },
                    "info" => EntryResult::Unknown { err: "internal".into() },
                    word => {
                        let (shard, seq) = self.stored(word, entry.uid);
                        EntryResult::Stored { shard, seq }
                    }
                });
                Answer::Puts(PutsResults { results: results.collect(), attempts: 1 })
            }
            Call::Get(get) => {
                let shard = self.chains[&get.chain].clone();
                let records = self.records(&shard, &words);
                let behind_ms = words.named.get("behind").map_or(0, |text| number(text));
                let kids = words.named.get("kids").into_iter().flat_map(|text| text.split(';'));
                let children = kids.map(child).collect();
                Answer::Get(Page { records, next: !words.has("end"), behind_ms, children })
            }
            Call::Drain(drain) => {
                let shard = number::<u64>(drain.shard.0.trim_start_matches("shardId-"));
                Answer::Drain(Drained { records: self.records(&shard.to_string(), &words) })
            }
            Call::Shards(_) => Answer::Shards(Shards {
                shards: words.plain.iter().map(|text| shard(text)).collect(),
            }),
            Call::Describe(_) => Answer::Describe(StreamStatus {
                status: serde_json::from_str(&format!("{:?}", words.plain[0])).unwrap(),
                open_shards: words.number(1),
                retention_hours: words.number(2),
            }),
            Call::Read(_) => {
                let value = Some(text.to_owned()).filter(|text| text != "none");
                Answer::Read(ReadValue { value })
            }
            Call::List(_) => {
                let members = words.plain.iter().map(|word| (*word).to_owned()).collect();
                Answer::List(Members { members })
            }
            Call::Attempt(_) => Answer::Attempt(Attempted { allowed: text == "yes" }),
            Call::LeaseTake(_) => {
                let checkpoint = Some(text).filter(|text| *text != "none").map(number);
                Answer::LeaseTake(LeaseTaken { checkpoint })
            }
            Call::Dump(_) => Answer::Dump(Dumped {
                applied: words.number(0),
                first: words.number(1),
                count: words.number(2),
                hash: words.plain[3].to_owned(),
            }),
            Call::Recover(_) => Answer::Recover(Recovered { ms: number(text) }),
            Call::RecoverLease(_) => Answer::RecoverLease(Recovered { ms: number(text) }),
            Call::Cas(_) => {
                let found = words.named.get("found").map(|text| ReadValue { value: value(text) });
                Answer::Cas(Swapped { swapped: text == "ok", found })
            }
            Call::Copies(_) => Answer::Copies(Copies {
                values: words.plain.iter().map(|text| value(text)).collect(),
            }),
            Call::Leases(_) => {
                let leases = words.plain.iter().map(|word| {
                    let (shard, checkpoint) = word.split_once(':').expect("SHARD:CHECKPOINT");
                    let checkpoint = value(checkpoint).map(|text| number(&text));
                    Lease { shard: shard_id(shard), owner: None, checkpoint }
                });
                Answer::Leases(Leases { leases: leases.collect() })
            }
            Call::Assigned(_) => {
                let shards = words.plain.iter().filter(|word| **word != "nothing").map(|word| {
                    let parts: Vec<&str> = word.split(':').collect();
                    let checkpoint = value(parts[2]).map(|text| number(&text));
                    AssignedShard { shard: shard_id(parts[0]), epoch: number(parts[1]), checkpoint }
                });
                Answer::Assigned(Assigned { shards: shards.collect() })
            }
            Call::Renew(_) => Answer::Renew(Done {}),
            Call::Membership(_) => Answer::Membership(Done {}),
            Call::Iter(_) => Answer::Iter(Done {}),
            Call::Split(_) => Answer::Split(Done {}),
            Call::Merge(_) => Answer::Merge(Done {}),
            Call::Scale(_) => Answer::Scale(Done {}),
            Call::Create(_) => Answer::Create(Done {}),
            Call::Delete(_) => Answer::Delete(Done {}),
            Call::Retention(_) => Answer::Retention(Done {}),
            Call::Write(_) => Answer::Write(Done {}),
            Call::Add(_) => Answer::Add(Done {}),
            Call::Remove(_) => Answer::Remove(Done {}),
            Call::Grant(_) => Answer::Grant(Done {}),
            Call::Revoke(_) => Answer::Revoke(Done {}),
            Call::Checkpoint(_) => Answer::Checkpoint(Done {}),
            Call::Process(_) => Answer::Process(Done {}),
        }
    }

    fn stored(&mut self, text: &str, uid: Uid) -> (ShardId, Seq) {
        let (shard, seq) = text.split_once('@').expect("SHARD@NUMBER");
        let record = self.record(number(seq), Some(uid), None, None);
        self.know(shard, record);
        (shard_id(shard), number(seq))
    }

    fn know(&mut self, shard: &str, record: Record) {
        self.known.entry(shard.to_owned()).or_default().entry(record.seq).or_insert(record);
    }

    /// The arrival time of a record is its number, unless the script says another one.
    fn record(&self, seq: Seq, uid: Option<Uid>, ts: Option<&str>, pk: Option<&str>) -> Record {
        let known = uid.and_then(|uid| self.keys.get(&uid)).map_or("k", String::as_str);
        let ts = ts.map_or_else(|| number(&seq.to_string()), number);
        Record { seq, uid, pk: pk.unwrap_or(known).to_owned(), ts: Millis(ts) }
    }

    /// Records as `NUMBER:UID`, then the arrival time and the key if they differ from the usual ones.
    fn records(&mut self, shard: &str, words: &Words<'_>) -> Vec<Record> {
        let mut records = Vec::new();
        for word in words.plain.iter().filter(|word| word.contains(':')) {
            let mut parts = word.split(':');
            let seq = number(parts.next().expect("a number"));
            let uid = parts.next().filter(|text| *text != "?").map(number);
            let (ts, pk) = (parts.next(), parts.next());
            let record = self.record(seq, uid, ts, pk);
            if record.uid.is_some() {
                self.know(shard, record.clone());
            }
            records.push(record);
        }
        records
    }

    fn add_drains(&mut self) {
        if self.no_drains {
            return;
        }
        let known = std::mem::take(&mut self.known);
        for (shard, records) in known {
            if self.drained.contains(&shard) {
                continue;
            }
            let (process, gateway) = (1000, Some(1));
            let call = Call::Drain(Drain { stream: "s".into(), shard: shard_id(&shard) });
            self.push(Kind::Invoke { process, gateway, call });
            let answer = Answer::Drain(Drained { records: records.into_values().collect() });
            self.push(Kind::Ok { process, gateway, answer });
        }
    }

    fn report(&mut self, text: &str) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let kind = match words[0] {
            "fault" => Kind::Nemesis(Nemesis::Fault(Fault {
                name: words[1].into(),
                nodes: words[2].split(',').map(number).collect(),
                phase: if words[3] == "start" { Phase::Start } else { Phase::Stop },
                detail: String::new(),
                bit: words.contains(&"bit").then_some(true),
            })),
            "clocks" => Kind::Nemesis(Nemesis::Clocks(Clocks { ahead_ms: number(words[1]) })),
            "heal" => Kind::Nemesis(Nemesis::Heal {}),
            "leaders" => {
                let leaders = words[1..].iter().map(|text| {
                    let parts: Vec<&str> = text.split(':').collect();
                    let (node, term) = (number(parts[1]), number(parts[2]));
                    Leader { group: parts[0].into(), node, term }
                });
                Kind::Observation(Observation::Leaders(Leaders { leaders: leaders.collect() }))
            }
            "exit" => Kind::Observation(Observation::Exit(Exit {
                node: number(words[1]),
                code: None,
                signal: Some(number(words[2])),
                expected: words.contains(&"expected"),
            })),
            "log" => {
                let (node, line) = (number(words[1]), words[2..].join(" "));
                Kind::Observation(Observation::Log(LogLine { node, line }))
            }
            "pressure" => Kind::Observation(Observation::Pressure(Pressure {
                cpu_some: number(words[1]),
                mem_some: number(words[2]),
            })),
            other => panic!("no such event: {other}"),
        };
        self.push(kind);
    }
}

fn value(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| text != "none")
}

fn start(words: &Words<'_>) -> IterStart {
    let named = |name: &str| words.named.get(name).copied();
    if let Some(seq) = named("at") {
        return IterStart::AtSequenceNumber(number(seq));
    }
    if let Some(seq) = named("after") {
        return IterStart::AfterSequenceNumber(number(seq));
    }
    if let Some(time) = named("time") {
        return IterStart::AtTimestamp(Millis(number(time)));
    }
    if words.has("latest") { IterStart::Latest } else { IterStart::TrimHorizon }
}

/// `SHARD:LOW..HIGH` and `<PARENT,PARENT`.
fn split_parents(text: &str) -> (Vec<&str>, Vec<ShardId>) {
    let (text, parents) = text.split_once('<').unwrap_or((text, ""));
    let parents = parents.split(',').filter(|parent| !parent.is_empty()).map(shard_id).collect();
    (text.split(':').collect(), parents)
}

fn range(text: &str) -> HashRange {
    let (start, end) = text.split_once("..").expect("LOW..HIGH");
    HashRange { start: hash_key(start), end: hash_key(end) }
}

fn child(text: &str) -> Child {
    let (parts, parents) = split_parents(text);
    Child { shard: shard_id(parts[0]), parents, range: range(parts[1]) }
}

fn shard(text: &str) -> Shard {
    let (parts, parents) = split_parents(text);
    let (start, end) = parts[2].split_once("..").unwrap_or((parts[2], ""));
    let end = Some(end).filter(|end| !end.is_empty()).map(number);
    Shard { shard: shard_id(parts[0]), parents, range: range(parts[1]), start: number(start), end }
}
