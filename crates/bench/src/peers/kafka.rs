//! Apache Kafka: a call is one Produce request with one record batch. It goes to the leader of a random partition and
//! is acknowledged by all replicas in sync (`acks=-1`).
//!
//! Source: Kafka protocol guide. Metadata version 4 and Produce version 7 are the newest versions without tagged
//! fields, and every Kafka from 1.0 to 4 supports them. Record batches have format 2.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rand::seq::IndexedRandom;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::options::Target;
use crate::payload::{Bodies, Shape, random_data};

const PRODUCE: (i16, i16) = (0, 7);
const METADATA: (i16, i16) = (3, 4);
const CLIENT_ID: &str = "anabranch-bench";
/// All replicas in sync must have the batch before it is acknowledged.
const ACKS_ALL: i16 = -1;

/// Connections to all leaders, and everything needed to open them.
#[derive(Debug)]
pub(crate) struct Session {
    bootstrap: (String, u16),
    topic: String,
    batches: Arc<Bodies>,
    timeout_ms: i32,
    route: Option<Route>,
}

/// The leader of each partition, and an open connection to each leader.
#[derive(Debug)]
struct Route {
    partitions: Vec<Partition>,
    brokers: BTreeMap<i32, TcpStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Partition {
    index: i32,
    leader: i32,
}

/// A response to Metadata about one topic.
#[derive(Debug, PartialEq, Eq)]
struct Metadata {
    brokers: BTreeMap<i32, (String, u16)>,
    partitions: Vec<Partition>,
}

/// A session for each connection; `--stream` is the topic.
///
/// # Errors
/// When an endpoint is not valid.
pub(crate) fn sessions(target: &Target, shape: Shape) -> Result<Vec<Session>> {
    let batches = Arc::new(Bodies::repeat(|| random_batch(shape)));
    let timeout_ms = i32::try_from(target.timeout.as_millis()).unwrap_or(i32::MAX);
    let session = |number| {
        let (bootstrap, topic) = (target.authority(number)?, target.stream.clone());
        Ok(Session { bootstrap, topic, batches: Arc::clone(&batches), timeout_ms, route: None })
    };
    (0..usize::try_from(target.connections)?).map(session).collect()
}

impl Session {
    /// Finds the leaders and connects to them, unless that is done.
    ///
    /// # Errors
    /// When the topic does not exist, or the leader of a partition does not answer.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if self.route.is_none() {
            let mut stream = connect(&self.bootstrap).await?;
            let mut request = frame(METADATA, &metadata_request(&self.topic));
            let answer = exchange(&mut stream, &mut request).await?;
            let Metadata { brokers: addresses, partitions } = metadata(answer)?;
            let mut brokers = BTreeMap::new();
            for Partition { leader, index } in &partitions {
                let address = addresses.get(leader);
                let address = address.with_context(|| format!("partition {index}: no leader"))?;
                if !brokers.contains_key(leader) {
                    brokers.insert(*leader, connect(address).await?);
                }
            }
            self.route = Some(Route { partitions, brokers });
        }
        Ok(())
    }

    /// Writes one batch.
    ///
    /// # Errors
    /// When it was not acknowledged.
    pub(crate) async fn call(&mut self) -> Result<u64> {
        self.open().await?;
        let route = self.route.as_mut().context("no route")?;
        let partition = *route.partitions.choose(&mut rand::rng()).context("no partition")?;
        let leader = route.brokers.get_mut(&partition.leader).context("no connection")?;
        let batch = self.batches.any();
        let head = produce_head(&self.topic, partition.index, self.timeout_ms, batch.len());
        produced(exchange(leader, &mut head.chain(batch)).await?)?;
        Ok(0)
    }

    pub(crate) fn close(&mut self) {
        self.route = None;
    }
}

async fn connect((host, port): &(String, u16)) -> Result<TcpStream> {
    let stream = TcpStream::connect((host.as_str(), *port)).await;
    let stream = stream.with_context(|| format!("connecting to {host}:{port}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request and returns the response without its header.
async fn exchange(stream: &mut TcpStream, request: &mut impl Buf) -> Result<Bytes> {
    stream.write_all_buf(request).await.context("sending")?;
    let bytes = stream.read_u32().await.context("receiving")?;
    let mut answer = BytesMut::zeroed(usize::try_from(bytes)?);
    stream.read_exact(&mut answer).await.context("receiving")?;
    let mut answer = answer.freeze();
    ensure!(answer.len() >= 4, "an answer without a header");
    answer.advance(4);
    Ok(answer)
}

/// Length, header and body of a request. Only one call is under way at a time, so the correlation id is always 0.
fn frame(api: (i16, i16), body: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    put_header(&mut frame, api, body.len());
    frame.put_slice(body);
    frame.freeze()
}

fn put_header(frame: &mut BytesMut, (key, version): (i16, i16), body_bytes: usize) {
    put_length(frame, 8 + 2 + CLIENT_ID.len() + body_bytes);
    frame.put_i16(key);
    frame.put_i16(version);
    frame.put_i32(0);
    put_string(frame, CLIENT_ID);
}

fn metadata_request(topic: &str) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i32(1);
    put_string(&mut body, topic);
    body.put_u8(0); // the request must not create the topic
    body.freeze()
}

fn metadata(answer: Bytes) -> Result<Metadata> {
    let mut answer = Answer(answer);
    let _throttle_ms = answer.i32()?;
    let mut brokers = BTreeMap::new();
    for _ in 0..answer.i32()? {
        let (id, host, port) = (answer.i32()?, answer.string()?, answer.i32()?);
        let _rack = answer.string()?;
        brokers.insert(id, (host, u16::try_from(port)?));
    }
    let (_cluster, _controller) = (answer.string()?, answer.i32()?);
    ensure!(answer.i32()? == 1, "asked for one topic, the response has another number");
    let (error, name, _is_internal) = (answer.i16()?, answer.string()?, answer.i8()?);
    ensure!(error == 0, "topic {name}: error {error}");
    let mut partitions = Vec::new();
    for _ in 0..answer.i32()? {
        let (error, index, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
        ensure!(error == 0, "partition {index}: error {error}");
        for _replicas_then_in_sync in 0..2 {
            for _ in 0..answer.i32()? {
                answer.i32()?;
            }
        }
        partitions.push(Partition { index, leader });
    }
    Ok(Metadata { brokers, partitions })
}

/// A Produce request up to the batch.
fn produce_head(topic: &str, partition: i32, timeout_ms: i32, batch_bytes: usize) -> Bytes {
    let mut body = BytesMut::new();
    body.put_i16(-1); // no transaction
    body.put_i16(ACKS_ALL);
    body.put_i32(timeout_ms);
    body.put_i32(1);
    put_string(&mut body, topic);
    body.put_i32(1);
    body.put_i32(partition);
    put_length(&mut body, batch_bytes);
    let mut head = BytesMut::new();
    put_header(&mut head, PRODUCE, body.len() + batch_bytes);
    head.put_slice(&body);
    head.freeze()
}

/// Fails unless the response to a Produce acknowledges the batch.
fn produced(answer: Bytes) -> Result<()> {
    let mut answer = Answer(answer);
    ensure!(answer.i32()? == 1, "wrote to one topic, the response has another number");
    let topic = answer.string()?;
    ensure!(answer.i32()? == 1, "wrote to one partition, the response has another number");
    let (partition, error, offset) = (answer.i32()?, answer.i16()?, answer.i64()?);
    if error != 0 || offset < 0 {
        bail!("{topic}, partition {partition}: error {error}");
    }
    Ok(())
}

fn random_batch(shape: Shape) -> Bytes {
    let records = (0..shape.records).map(|_| {
        let key: u64 = rand::random();
        (format!("{key:016x}"), random_data(shape.record_bytes))
    });
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    batch(i64::try_from(now.as_millis()).unwrap_or(i64::MAX), records)
}

/// A record batch of format 2, uncompressed, without a producer id; all its records have the same timestamp.
fn batch(timestamp_ms: i64, records: impl Iterator<Item = (String, Vec<u8>)>) -> Bytes {
    let mut body = BytesMut::new();
    let mut count = 0;
    for (key, value) in records {
        put_record(&mut body, count, key.as_bytes(), &value);
        count += 1;
    }
    // The part that the checksum covers.
    let mut checked = BytesMut::with_capacity(40 + body.len());
    checked.put_i16(0); // attributes
    checked.put_i32(count - 1); // offset of the last record
    checked.put_i64(timestamp_ms); // first
    checked.put_i64(timestamp_ms); // newest
    checked.put_i64(-1); // producer id
    checked.put_i16(-1); // producer epoch
    checked.put_i32(-1); // base sequence
    checked.put_i32(count);
    checked.put_slice(&body);
    let mut batch = BytesMut::with_capacity(21 + checked.len());
    batch.put_i64(0); // base offset
    put_length(&mut batch, 9 + checked.len());
    batch.put_i32(-1); // partition leader epoch
    batch.put_i8(2); // format
    batch.put_u32(crc32c::crc32c(&checked));
    batch.put_slice(&checked);
    batch.freeze()
}

fn put_record(body: &mut BytesMut, offset_delta: i32, key: &[u8], value: &[u8]) {
    let mut record = BytesMut::with_capacity(32 + key.len() + value.len());
    record.put_i8(0); // attributes
    put_varint(&mut record, 0); // timestamp delta
    put_varint(&mut record, offset_delta.into());
    for field in [key, value] {
        put_varint(&mut record, as_i64(field.len()));
        record.put_slice(field);
    }
    put_varint(&mut record, 0); // headers
    put_varint(body, as_i64(record.len()));
    body.put_slice(&record);
}

/// Zigzag, then seven bits a byte, lowest first.
fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).expect("seven bits fit");
        rest >>= 7;
        if rest == 0 {
            return out.put_u8(low);
        }
        out.put_u8(low | 0x80);
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("names are short"));
    out.put_slice(text.as_bytes());
}

fn put_length(out: &mut BytesMut, length: usize) {
    out.put_i32(i32::try_from(length).expect("a call is smaller than 2 GiB"));
}

fn as_i64(length: usize) -> i64 {
    i64::try_from(length).expect("lengths are below 2^63")
}

/// A response that is parsed from the front.
struct Answer(Bytes);

impl Answer {
    fn i8(&mut self) -> Result<i8> {
        Ok(self.0.try_get_i8()?)
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(self.0.try_get_i16()?)
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(self.0.try_get_i32()?)
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(self.0.try_get_i64()?)
    }

    /// A null string is an empty string here.
    fn string(&mut self) -> Result<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        ensure!(self.0.len() >= length, "a string is cut off");
        Ok(String::from_utf8(self.0.split_to(length).to_vec())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(value: i64) -> Vec<u8> {
        let mut out = BytesMut::new();
        put_varint(&mut out, value);
        out.to_vec()
    }

    #[test]
    fn varints_are_those_of_protocol_buffers() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(-1), [1]);
        assert_eq!(varint(63), [126]);
        assert_eq!(varint(64), [0x80, 1]);
        assert_eq!(varint(-65), [0x81, 1]);
        assert_eq!(varint(i64::MIN), [vec![0xff; 9], vec![1]].concat());
    }

    #[test]
    fn a_batch_has_the_bytes_of_the_protocol_guide() {
        let batch = batch(0x0102, [("k".to_owned(), b"v".to_vec())].into_iter());
        let records = [16, 0, 0, 0, 2, b'k', 2, b'v', 0];
        let mut expected = vec![0; 8]; // base offset
        expected.extend([0, 0, 0, 58]); // bytes behind this field
        expected.extend([0xff; 4]); // leader epoch
        expected.push(2); // format
        expected.extend(crc32c::crc32c(&batch[21..]).to_be_bytes());
        expected.extend([0, 0, 0, 0, 0, 0]); // attributes, offset of the last
        expected.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 2]); // timestamps
        expected.extend([0xff; 14]); // producer id and epoch, base sequence
        expected.extend([0, 0, 0, 1]); // records
        expected.extend(records);
        assert_eq!(batch, expected);
    }

    #[test]
    fn a_length_counts_the_bytes_behind_it() {
        let batch = random_batch(Shape { records: 500, record_bytes: 1000 });
        assert_eq!(u64::from((&batch[8..12]).get_u32()), batch.len() as u64 - 12);
        let head = produce_head("topic", 3, 30_000, batch.len());
        assert_eq!((&head[..4]).get_u32() as usize, head.len() - 4 + batch.len());
        let request = frame(METADATA, &metadata_request("topic"));
        assert_eq!((&request[..4]).get_u32() as usize, request.len() - 4);
    }

    #[test]
    fn metadata_names_the_leaders() {
        let mut answer = BytesMut::new();
        answer.put_i32(0);
        answer.put_i32(1);
        answer.put_i32(7);
        put_string(&mut answer, "127.0.0.1");
        answer.put_i32(9092);
        answer.put_i16(-1);
        put_string(&mut answer, "cluster");
        answer.put_i32(7);
        answer.put_i32(1);
        answer.put_i16(0);
        put_string(&mut answer, "topic");
        answer.put_u8(0);
        answer.put_i32(1);
        answer.put_i16(0);
        answer.put_i32(5);
        answer.put_i32(7);
        answer.put_slice(&[0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 7]);
        let answer = answer.freeze();
        let read = metadata(answer.clone()).unwrap();
        assert_eq!(read.brokers[&7], ("127.0.0.1".to_owned(), 9092));
        assert_eq!(read.partitions, [Partition { index: 5, leader: 7 }]);
        for length in 0..answer.len() {
            assert!(metadata(answer.slice(..length)).is_err(), "{length}");
        }
    }

    #[test]
    fn only_an_offset_acknowledges() {
        let answer = |error: i16, offset: i64| {
            let mut answer = BytesMut::new();
            answer.put_i32(1);
            put_string(&mut answer, "topic");
            answer.put_i32(1);
            answer.put_i32(5);
            answer.put_i16(error);
            answer.put_i64(offset);
            produced(answer.freeze())
        };
        assert!(answer(0, 0).is_ok());
        assert_eq!(answer(19, -1).unwrap_err().to_string(), "topic, partition 5: error 19");
        assert!(produced(Bytes::new()).is_err());
    }
}
