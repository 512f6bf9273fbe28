//! Producers and readers of two streams, over the Kinesis API and over gRPC. The fault `reshard` splits and merges the
//! shards of both.

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::StreamName;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::admin::Admin;
use crate::native;
use crate::scene::Scene;
use crate::workload::{Workload, create_lasting_stream};
use crate::workloads::producer::Producer;
use crate::workloads::reader::Reader;

/// The streams, and the shards that they begin with.
const STREAMS: [(&str, u32); 2] = [("resharded-records", 3), ("resharded-one", 1)];
const PRODUCERS: u64 = 2;
const READERS: u64 = 2;

/// The workload.
pub(crate) struct Records;

#[async_trait]
impl Workload for Records {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        for (stream, shards) in STREAMS {
            let mut session = scene.session("records prepare", 0);
            create_lasting_stream(&mut session, &StreamName::from(stream), shards).await?;
        }
        Ok(())
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let mut clients = Vec::new();
        for (stream, _) in STREAMS {
            let stream = StreamName::from(stream);
            for number in 0..PRODUCERS {
                let session = scene.session(&format!("{stream} producer"), number);
                clients.push(Producer::new(session, stream.clone()).run().boxed());
            }
            for number in 0..READERS {
                let session = scene.session(&format!("{stream} reader"), number);
                clients.push(Reader::new(session, stream.clone()).run().boxed());
            }
            let session = scene.session(&format!("{stream} gRPC producer"), 0);
            clients.push(native::produce(session, stream.clone()).boxed());
            let session = scene.session(&format!("{stream} gRPC reader"), 0);
            clients.push(native::read(session, stream).boxed());
        }
        clients
    }

    fn streams(&self) -> Vec<StreamName> {
        STREAMS.map(|(stream, _)| StreamName::from(stream)).to_vec()
    }
}
