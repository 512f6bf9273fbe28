//! Reads a stream as a member of a consumer group, prints each record, and stores how far it is. Ends after COUNT
//! records. Start it several times: the programs share the shards.
//!
//! `consume NODES STREAM GROUP COUNT`, where NODES are `host:port` of gRPC ports, with commas.

use anabranch_client::types::StreamName;
use anabranch_client::{Client, GroupConsumer, GroupError, GroupSettings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments.next().ok_or("NODES: is required")?;
    let stream: StreamName = arguments.next().ok_or("STREAM: is required")?.parse()?;
    let group = arguments.next().ok_or("GROUP: is required")?;
    let mut left: usize = arguments.next().ok_or("COUNT: is required")?.parse()?;
    let nodes = nodes.split(',').map(ToOwned::to_owned).collect();
    let client = Client::connect(nodes, anabranch_client::tcp()).await?;
    let settings = GroupSettings::default();
    let mut consumer = GroupConsumer::join(&client, &stream, &group, settings).await?;
    while left > 0 {
        let batch = consumer.next().await?;
        for record in batch.page().records() {
            println!("{} {}", record.shard, String::from_utf8_lossy(&record.data));
            left = left.saturating_sub(1);
        }
        match consumer.checkpoint(&batch).await {
            // Another member has the shard, and gets these records too.
            Ok(()) | Err(GroupError::OwnershipLost(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    consumer.leave().await?;
    Ok(())
}
