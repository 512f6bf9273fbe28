//! Puts the objects of a batch. Tries again until all are there: the log keeps the records meanwhile.
//!
//! The body of an object is in memory only during an attempt, and the attempts for one bucket share a number of bytes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::batch::Closed;
use crate::intent::IntentObject;
use crate::metrics::Metrics;
use crate::spool::Spool;
use crate::stores::{ObjectStores, StoreError};

/// Pauses between attempts: from the first one, twice as long each time, up to the longest.
/// Source: firehose.md 5.6, back-off of deliveries.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// Why an object is not put yet.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("spool: {0}")]
    Spool(#[from] std::io::Error),
}

/// Puts all objects of a batch.
pub(crate) async fn put_all(stores: &ObjectStores, metrics: &Metrics, closed: &mut Closed) {
    for (object, (body, encoding)) in closed.intent.objects.iter().zip(&mut closed.bodies) {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = put(stores, metrics, object, body, *encoding).await {
            metrics.failed_puts.increment();
            let (bucket, key) = (&object.bucket, &object.key);
            tracing::warn!(bucket, key, %error, "delivery: an object waits");
            let jitter = 0.85 + 0.3 * rand::random::<f64>();
            sleep(pause.mul_f64(jitter)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        metrics.objects.increment();
        metrics.records.add(object.records);
        metrics.bytes.add(body.len());
    }
}

async fn put(
    stores: &ObjectStores,
    metrics: &Metrics,
    object: &IntentObject,
    body: &mut Spool,
    encoding: Option<&'static str>,
) -> Result<(), Failed> {
    let bucket = stores.bucket(&object.bucket)?;
    let _room = bucket.room(body.len()).await;
    let began = Instant::now();
    bucket.create(&object.key, body.read()?, encoding).await?;
    metrics.put_duration.observe_duration(began.elapsed());
    Ok(())
}
