//! An encrypted stream. Its data keys change after little data, and encryption is switched off and on.

use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chaos_checkers::history::StreamName;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::json;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::kinesis::Connection;
use crate::scene::Scene;
use crate::session::Session;
use crate::workload::{Workload, active, create_lasting_stream};
use crate::workloads::producer::Producer;
use crate::workloads::reader::Reader;

const STREAM: &str = "resharded-encrypted";
const KEY: &str = "alias/aws/kinesis";

/// The workload.
pub(crate) struct Encrypted;

#[async_trait]
impl Workload for Encrypted {
    async fn prepare(&self, scene: &Scene, _admin: &Admin) -> Result<()> {
        let mut session = scene.session("encrypted prepare", 0);
        create_lasting_stream(&mut session, &StreamName::from(STREAM), 2).await?;
        switch(&session, true).await;
        active(&mut session, &StreamName::from(STREAM)).await
    }

    fn clients(&self, scene: &Scene, _admin: &Admin) -> Vec<BoxFuture<'static, ()>> {
        let stream = StreamName::from(STREAM);
        let producer =
            |number| Producer::new(scene.session("encrypted producer", number), stream.clone());
        let reader = Reader::new(scene.session("encrypted reader", 0), stream.clone());
        let switcher = scene.session("encrypted switch", 0);
        vec![
            producer(0).run().boxed(),
            producer(1).run().boxed(),
            reader.run().boxed(),
            switch_again_and_again(switcher).boxed(),
        ]
    }

    fn streams(&self) -> Vec<StreamName> {
        vec![StreamName::from(STREAM)]
    }
}

async fn switch_again_and_again(mut session: Session) {
    let mut on = true;
    while session.scene.goes_on() {
        let seconds = session.random.random_range(2..8);
        tokio::select! {
            () = sleep(Duration::from_secs(seconds)) => {}
            () = session.scene.stopped() => return,
        }
        session.move_about();
        on = !on;
        switch(&session, on).await;
    }
}

/// StartStreamEncryption or StopStreamEncryption. Whether it is done makes no difference to any promise.
async fn switch(session: &Session, on: bool) {
    let gateway = session.scene.network.api(session.gateway());
    let mut connection = Connection::new(gateway, session.signer());
    let body = json!({ "StreamName": STREAM, "EncryptionType": "KMS", "KeyId": KEY });
    let operation = if on { "StartStreamEncryption" } else { "StopStreamEncryption" };
    let text = match connection.call(operation, &body, None).await {
        Ok(_) => format!("{operation}: done"),
        Err(failure) => format!("{operation}: {}", failure.reason()),
    };
    session.scene.recorder.note(text);
}
