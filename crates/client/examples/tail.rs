//! Prints the records of a stream, a line each, from the oldest one on. Ends after COUNT records.
//!
//! `tail NODES STREAM COUNT`, where NODES are `host:port` of gRPC ports, with commas.

use std::sync::Arc;

use anabranch_client::shard::Start;
use anabranch_client::types::StreamName;
use anabranch_client::{Client, StreamReader};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments.next().ok_or("NODES: is required")?;
    let stream: StreamName = arguments.next().ok_or("STREAM: is required")?.parse()?;
    let mut left: usize = arguments.next().ok_or("COUNT: is required")?.parse()?;
    let nodes = nodes.split(',').map(ToOwned::to_owned).collect();
    let client = Client::connect(nodes, anabranch_client::tcp()).await?;
    let mut reader = StreamReader::begin(Arc::new(client), &stream, Start::TrimHorizon).await?;
    while left > 0 {
        let Some(page) = reader.next().await? else { break };
        for record in page.records().take(left) {
            println!("{} {}", record.shard, String::from_utf8_lossy(&record.data));
            left -= 1;
        }
    }
    Ok(())
}
