//! One process of the history: it makes one call after the other, and records each call with its outcome.
//!
//! A process whose call has an unknown outcome retires: the session goes on under a new process number, because the
//! old call may still have its effect. After a failure the session goes to another gateway, as a load balancer would
//! send it.

use std::net::SocketAddr;

use chaos_checkers::history::{Answer, Call, Function, Kind};
use chaos_lab::NodeNumber;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::kinesis::{Connection, Failure, Signer};
use crate::scene::Scene;

/// A client that records what it does.
pub(crate) struct Session {
    pub(crate) scene: Scene,
    pub(crate) random: StdRng,
    signer: Signer,
    process: u64,
    gateway: NodeNumber,
    pinned: bool,
    connection: Connection,
    records: u64,
    /// Whether calls go over gRPC, and so through no gateway.
    is_native: bool,
    /// The call that has begun and not ended.
    open: Option<Function>,
}

/// One call of this number goes to another gateway although nothing failed.
const CHANGES_GATEWAY: u32 = 20;

impl Session {
    pub(crate) fn new(scene: Scene, signer: Signer, mut random: StdRng) -> Self {
        let gateway = choose(&scene.gateways, &mut random);
        let connection = Connection::new(scene.network.api(gateway), signer.clone());
        let process = scene.recorder.new_process();
        Self {
            scene,
            random,
            signer,
            process,
            gateway,
            pinned: false,
            connection,
            records: 0,
            is_native: false,
            open: None,
        }
    }

    /// The same session, which always calls `gateway`.
    pub(crate) fn at(mut self, gateway: NodeNumber) -> Self {
        self.pinned = true;
        self.go_to(gateway);
        self
    }

    /// The same session, whose calls all go over gRPC, and so through no gateway.
    pub(crate) fn native(mut self) -> Self {
        self.is_native = true;
        self
    }

    /// Makes calls that the history does not have.
    pub(crate) async fn unrecorded<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> T,
    ) -> T {
        work(&mut self.connection).await
    }

    /// The process number of the next call.
    pub(crate) fn process(&self) -> u64 {
        self.process
    }

    /// Gateway of the next call.
    pub(crate) fn gateway(&self) -> NodeNumber {
        self.gateway
    }

    /// Identity of a new record of this process.
    pub(crate) fn next_record(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    /// The key that signs this session's calls.
    pub(crate) fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// Addresses of all gateways, this session's first.
    pub(crate) fn gateways_in_turn(&self) -> Vec<SocketAddr> {
        let all = &self.scene.gateways;
        let own = all.iter().position(|gateway| *gateway == self.gateway).unwrap_or_default();
        all.iter()
            .cycle()
            .skip(own)
            .take(all.len())
            .map(|gateway| self.scene.network.api(*gateway))
            .collect()
    }

    fn go_to(&mut self, gateway: NodeNumber) {
        self.gateway = gateway;
        self.connection = Connection::new(self.scene.network.api(gateway), self.signer.clone());
    }

    /// Goes to another gateway now and then, before a call begins.
    pub(crate) fn move_about(&mut self) {
        if !self.pinned && self.random.random_ratio(1, CHANGES_GATEWAY) {
            let gateway = choose(&self.scene.gateways, &mut self.random);
            self.go_to(gateway);
        }
    }

    /// Makes a call, and records it with its outcome. `work` makes it on the connection to the gateway; `answer` wraps
    /// its result for the history.
    pub(crate) async fn run<T: Clone>(
        &mut self,
        call: impl Into<Call>,
        answer: fn(T) -> Answer,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.begin(call);
        let result = work(&mut self.connection).await;
        self.end(result, answer)
    }

    /// As [`Self::run`], for a call that goes through no gateway: over gRPC.
    pub(crate) async fn run_native<T: Clone>(
        &mut self,
        call: impl Into<Call>,
        answer: fn(T) -> Answer,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let before = std::mem::replace(&mut self.is_native, true);
        self.begin(call);
        let result = work.await;
        let result = self.end(result, answer);
        self.is_native = before;
        result
    }

    fn through(&self) -> Option<u64> {
        (!self.is_native).then_some(u64::from(self.gateway.0))
    }

    /// Records that a call begins. [`Self::end`] follows.
    pub(crate) fn begin(&mut self, call: impl Into<Call>) {
        let (process, gateway) = (self.process, self.through());
        let call = call.into();
        self.open = Some(call.function());
        self.scene.recorder.record(Kind::Invoke { process, gateway, call });
    }

    /// Records the outcome of the call that began.
    pub(crate) fn end<T: Clone>(
        &mut self,
        result: Result<T, Failure>,
        answer: fn(T) -> Answer,
    ) -> Result<T, Failure> {
        let (process, gateway) = (self.process, self.through());
        let Some(function) = self.open.take() else { return result };
        let kind = match &result {
            Ok(value) => Kind::Ok { process, gateway, answer: answer(value.clone()) },
            Err(Failure::Refused(error)) => {
                Kind::Fail { process, gateway, function, error: error.clone() }
            }
            Err(Failure::Unknown(error)) => {
                Kind::Info { process, gateway, function, error: error.clone() }
            }
        };
        self.scene.recorder.record(kind);
        if let Err(failure) = &result {
            self.after(failure);
        }
        result
    }

    fn after(&mut self, failure: &Failure) {
        if matches!(failure, Failure::Unknown(_)) {
            self.process = self.scene.recorder.new_process();
            self.records = 0;
        }
        let is_the_gateways =
            matches!(failure, Failure::Unknown(_)) || failure.is_about_the_gateway();
        if is_the_gateways && !self.pinned {
            let gateway = choose(&self.scene.gateways, &mut self.random);
            self.go_to(gateway);
        }
    }
}

fn choose(gateways: &[NodeNumber], random: &mut StdRng) -> NodeNumber {
    gateways.choose(random).copied().unwrap_or(NodeNumber(1))
}
