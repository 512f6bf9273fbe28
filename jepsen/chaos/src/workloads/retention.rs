//! Records that expire. The clocks of all nodes move hours ahead, so that retention of 24 hours ends within seconds.
//!
//! All other workloads keep their records for a year, so their records outlive every move.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::StreamName;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::admin::Admin;
use crate::scene::Scene;
use crate::workload::{Workload, create_stream};
use crate::workloads::producer::Producer;
use crate::workloads::reader::Reader;

const STREAM: &str = "resharded-retention";
/// Hours by which all clocks move ahead at a time.
pub(crate) const STEP_HOURS: i64 = 7;
/// Time between two moves.
pub(crate) const STEP: Duration = Duration::from_secs(12);

/// Time in which all nodes notice that their clocks have moved.
pub(crate) const NOTICED: Duration = Duration::from_secs(2);

/// The workload.
pub(crate) struct RetentionWork;

#[async_trait]
impl Workload for RetentionWork {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("retention prepare", 0);
        create_stream(&mut session, &StreamName::from(STREAM), 2).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let stream = StreamName::from(STREAM);
        let producer = Producer::new(scene.session("retention producer", 0), stream.clone());
        let readers = (0..2).map(|number| {
            let session = scene.session("retention reader", number);
            Reader::new(session, stream.clone()).run().boxed()
        });
        std::iter::once(producer.run().boxed()).chain(readers).collect()
    }

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::from(STREAM)]
    }
}
