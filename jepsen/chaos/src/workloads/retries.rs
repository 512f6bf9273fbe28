//! Retries as an SDK makes them: the same body up to four times, at one gateway after the other.
//!
//! Half of the producers keep the invocation id, as SDKs do: then there is at most one copy. The other half does not:
//! then there may be as many copies as attempts.

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::{Api, Entry, Put, StreamName};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::admin::Admin;
use crate::scene::Scene;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::producer::Producer;

const STREAM: &str = "resharded-retries";
const PRODUCERS: u64 = 4;
const ATTEMPTS: u32 = 4;

/// The workload.
pub(crate) struct Retries;

#[async_trait]
impl Workload for Retries {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("retries prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 2).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let producers = (0..PRODUCERS).map(|number| {
            let producer =
                Producer::new(scene.session("retries", number), StreamName::from(STREAM));
            put(producer, number % 2 == 0).boxed()
        });
        producers.collect()
    }

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::from(STREAM)]
    }
}

async fn put(mut producer: Producer, named: bool) {
    while producer.session.scene.goes_on() {
        producer.session.move_about();
        let Entry { uid, pk, ehk } = producer.record();
        let put = Put {
            stream: producer.stream.clone(),
            uid,
            pk,
            ehk,
            ord: None,
            api: Api::PutRecord,
            budget: ATTEMPTS,
            named,
        };
        let length = producer.length();
        // The history has the outcome.
        let _recorded = producer.session.put_with_retries(put, length).await;
        producer.pause().await;
    }
}
