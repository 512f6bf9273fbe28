//! Puts each line of its input into a stream. The line is the partition key too.
//!
//! `produce NODES STREAM < FILE`, where NODES are `host:port` of gRPC ports, with commas.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use anabranch_client::shard::{BatchBuilder, Producer};
use anabranch_client::types::{StreamName, partition_key_hash};
use anabranch_client::{Client, Error};

/// Lines of one round of calls.
const ROUND: usize = 500;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments.next().ok_or("NODES: is required")?;
    let stream: StreamName = arguments.next().ok_or("STREAM: is required")?.parse()?;
    let nodes = nodes.split(',').map(ToOwned::to_owned).collect();
    let client = Client::connect(nodes, anabranch_client::tcp()).await?;
    let lines: Vec<String> = std::io::stdin().lock().lines().collect::<Result<_, _>>()?;
    // One producer, whose calls are numbered. A call that is sent again stores nothing twice.
    let id: [u8; 16] = rand::random();
    let mut sequence = 0;
    for round in lines.chunks(ROUND) {
        let mut rest: Vec<&String> = round.iter().collect();
        while !rest.is_empty() {
            let view = client.newest_view().await?;
            let found = view.stream(&stream).ok_or("there is no such stream")?;
            let mut batches = HashMap::new();
            for line in std::mem::take(&mut rest) {
                let route = found.shard_for(partition_key_hash(line)).ok_or("no shard")?;
                let (_, lines) =
                    batches.entry(route.group).or_insert_with(|| (Arc::clone(route), Vec::new()));
                lines.push(line);
            }
            for (route, lines) in batches.into_values() {
                sequence += 1;
                let producer = Producer { id: id.to_vec().into(), sequence };
                let mut batch = BatchBuilder::new(Some(producer));
                for (index, line) in (0..).zip(&lines) {
                    batch.push(index, line.as_bytes(), line.as_bytes());
                }
                let Some(batch) = batch.finish() else { continue };
                match client.append(&route, batch).await {
                    Ok(_) => {}
                    // The shard was split or merged: its children take the lines.
                    Err(Error::Closed) => rest.extend(lines),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    println!("{} lines are stored", lines.len());
    Ok(())
}
