//! One run, from the start of the cluster to the verdict.
//!
//! Order of events: the plan is made from the seed. The cluster starts, and every workload makes its streams. Then the
//! clients begin, and the nemesis carries out the plan. The nemesis heals everything, every shard must take a put
//! again, and the clients stop. Everything is read, and the checkers judge the history.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::{Context, Result};
use chaos_checkers::history::{Millis, Promises, StreamName, Wanted};
use chaos_checkers::{Header, History};
use chaos_lab::{Lab, LabSettings};
use futures::future::{join, join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client_hosts::ClientHosts;
use crate::cluster::Cluster;
use crate::fault::{self, FaultKind};
use crate::faults::certificates;
use crate::field::Field;
use crate::kinesis::Signer;
use crate::plan::{Period, plan};
use crate::recorder::Recorder;
use crate::scene::Scene;
use crate::soak::{self, Samples};
use crate::workload::{self, Workload};
use crate::workloads::retention;
use crate::{final_reads, nemesis, observer};

/// Settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct RunSettings {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) nodes: u8,
    /// Names as in `FAULTS`.
    pub(crate) faults: String,
    /// Names as in `WORKLOADS`.
    pub(crate) workloads: String,
    pub(crate) binary: PathBuf,
    /// Folder of the results.
    pub(crate) out: PathBuf,
    /// Whether the lab does without root: loopback addresses, a proxy, and folders for disks.
    pub(crate) loopback: bool,
    /// Further variables of the nodes' environment.
    pub(crate) environment: Vec<(String, String)>,
}

impl RunSettings {
    /// The kinds of faults of the run, and the names of those that it leaves out because they need root.
    ///
    /// # Errors
    /// Names a fault that does not exist or can't be done.
    pub(crate) fn faults(&self) -> Result<(Vec<FaultKind>, Vec<&'static str>)> {
        let kinds = fault::select(&self.faults, self.nodes)?;
        if self.loopback {
            fault::without_root(kinds, &self.faults)
        } else {
            Ok((kinds, Vec::new()))
        }
    }

    /// One sentence about the lab, for the report.
    ///
    /// # Errors
    /// As [`Self::faults`].
    pub(crate) fn lab(&self) -> Result<String> {
        let (_, left_out) = self.faults()?;
        Ok(match (self.loopback, &left_out[..]) {
            (false, _) => "Each node in a network namespace, with a disk of its own".to_owned(),
            (true, []) => "Loopback addresses and a fault proxy".to_owned(),
            (true, names) => format!(
                "Loopback addresses and a fault proxy; these faults were left out: {}",
                names.join(", ")
            ),
        })
    }
}

/// Longest time until a client that was told to stop has ended its last call.
const LAST_CALL: Duration = Duration::from_secs(40);
/// How far the clocks of a minority may be wrong without any effect on the agreed time.
const CLOCK_SKEW: Millis = Millis(1000);
/// Pressure above which nothing is said about recovery times, in percent.
const STALLED: f64 = 90.0;

/// Runs once. Returns the history.
///
/// # Errors
/// If the cluster can't be started, or the harness itself fails. A cluster that breaks a promise is no error.
pub(crate) async fn run(settings: &RunSettings) -> Result<History> {
    let (mut stage, plan, stop) = prepare(settings, true).await?;
    let result = stage.play(&plan, stop).await;
    stage.close(&settings.out)?;
    result?;
    Ok(History::new(plan.header, stage.scene.recorder.finish()?)?)
}

/// Runs for a long time without a history, and compares the figures of the nodes.
///
/// # Errors
/// Names every figure that grew.
pub(crate) async fn soak(settings: &RunSettings) -> Result<()> {
    let (mut stage, plan, stop) = prepare(settings, false).await?;
    let result = stage.soak(&plan, settings, stop).await;
    stage.close(&settings.out)?;
    result
}

/// The plan of a run, and what it is judged by.
struct Plan {
    kinds: Vec<FaultKind>,
    periods: Vec<Period>,
    header: Header,
}

/// Makes the plan, and starts the cluster.
async fn prepare(
    settings: &RunSettings,
    has_history: bool,
) -> Result<(Stage, Plan, watch::Sender<bool>)> {
    let mut random = StdRng::seed_from_u64(settings.seed);
    let (kinds, _left_out) = settings.faults()?;
    let works = workload::select(&settings.workloads)?;
    let periods = plan(&kinds, settings.length, &mut random);
    fs::create_dir_all(&settings.out).with_context(|| settings.out.display().to_string())?;
    let fail_points = fs::canonicalize(&settings.out)?.join("fail-points");
    fs::create_dir_all(&fail_points)?;
    let mut environment = settings.environment.clone();
    environment.push(("ANABRANCH_FAIL_POINTS".into(), fail_points.display().to_string()));
    let needs_spare = kinds.iter().any(|kind| kind.name == "replace-node");
    let lab = LabSettings {
        nodes: settings.nodes + u8::from(needs_spare),
        seed: random.random(),
        binary: settings.binary.clone(),
        environment,
        loopback: settings.loopback,
    };
    let mutual_tls = kinds.iter().any(|kind| kind.name == certificates::NAME);
    let cluster = Cluster::start(&lab, settings.nodes, mutual_tls, &mut random).await?;
    let header = header(settings, &kinds, &periods);
    let file = has_history.then(|| settings.out.join("history.jsonl"));
    let recorder = Recorder::create(file.as_deref(), &header)?;
    let (stop, stopped) = watch::channel(false);
    let ahead = Arc::new(AtomicI64::new(0));
    let signer = Signer::new(&cluster.root.id, &cluster.root.secret, Arc::clone(&ahead));
    let scene = Scene::new(recorder, &cluster, signer, ahead, settings.seed, stopped);
    let random = StdRng::seed_from_u64(random.random());
    let stage = Stage {
        workloads: works.iter().map(|kind| (kind.make)()).collect(),
        moves_clocks: works.iter().any(|kind| kind.name == "retention"),
        field: Field::new(cluster, scene.clone(), random, fail_points),
        scene,
    };
    Ok((stage, Plan { kinds, periods, header }, stop))
}

/// The header of the history: every kind of fault that the plan has must have its effect at least once.
fn header(settings: &RunSettings, kinds: &[FaultKind], periods: &[Period]) -> Header {
    let planned = |index: usize| periods.iter().any(|period| period.faults.contains(&index));
    let wanted = kinds.iter().enumerate().filter(|(index, _)| planned(*index));
    Header {
        seed: settings.seed,
        nodes: (1..=u64::from(settings.nodes)).collect(),
        clock_skew_ms: CLOCK_SKEW,
        stall_percent: STALLED,
        wanted: wanted.map(|(_, kind)| Wanted { fault: kind.name.to_owned(), least: 1 }).collect(),
        // ADR-0022 repairs single entries, and ADR-0024 shows expired records again while clocks disagree.
        promises: Promises {
            damage_never_leads: false,
            trims_are_final: false,
            ..Promises::default()
        },
        ..Header::default()
    }
}

/// A run whose cluster has started.
struct Stage {
    scene: Scene,
    workloads: Vec<Arc<dyn Workload>>,
    /// Whether the clocks of all nodes move ahead, so that records expire.
    moves_clocks: bool,
    field: Field,
}

impl Stage {
    async fn play(&mut self, plan: &Plan, stop: watch::Sender<bool>) -> Result<()> {
        let admin = self.field.admin.clone();
        let (clients, _hosts) = self.begin().await?;
        let observer = tokio::spawn(observer::observe(admin.clone(), self.scene.recorder.clone()));
        let mut moved = Instant::now();
        for period in &plan.periods {
            self.carry_out(plan, period, &mut moved).await?;
        }
        let healed = nemesis::heal(&mut self.field).await;
        let since = Instant::now();
        if let Err(error) = healed {
            self.scene.recorder.note(format!("after the last heal: {error:#}"));
        }
        let streams = self.streams();
        // A node may have been replaced meanwhile.
        let scene = self.scene.with_gateways(&self.field.members);
        let works = self.workloads.iter().map(|workload| workload.recover(&scene, since));
        join(final_reads::recover(&scene, &streams, since), join_all(works)).await;
        self.end(clients, stop).await;
        join_all(self.workloads.iter().map(|workload| workload.read_at_end(&scene))).await;
        final_reads::drain(&scene, &admin, &streams).await;
        final_reads::dump(&scene, &admin, &streams).await?;
        self.field.watch_exits();
        observer.abort();
        Ok(())
    }

    async fn soak(
        &mut self,
        plan: &Plan,
        settings: &RunSettings,
        stop: watch::Sender<bool>,
    ) -> Result<()> {
        let (clients, _hosts) = self.begin().await?;
        let mut samples = Samples::create(&settings.out)?;
        let (began, mut moved, mut sampled) = (Instant::now(), Instant::now(), Instant::now());
        for period in plan.periods.iter().cycle() {
            if began.elapsed() > settings.length {
                break;
            }
            self.carry_out(plan, period, &mut moved).await?;
            if sampled.elapsed() > soak::PERIOD {
                samples.take(&mut self.field)?;
                sampled = Instant::now();
            }
        }
        self.end(clients, stop).await;
        samples.finish()
    }

    /// Has every workload make its streams, and starts the clients.
    async fn begin(&mut self) -> Result<(Vec<JoinHandle<()>>, ClientHosts)> {
        let admin = self.field.admin.clone();
        for workload in &self.workloads {
            workload.prepare(&self.scene, &admin).await?;
        }
        let mut hosts = ClientHosts::start(&self.field.lab.clients())?;
        let scene = self.scene.for_clients();
        let clients = self.workloads.iter().flat_map(|workload| workload.clients(&scene, &admin));
        let clients = clients.map(|client| hosts.spawn(client)).collect();
        Ok((clients, hosts))
    }

    async fn carry_out(&mut self, plan: &Plan, period: &Period, moved: &mut Instant) -> Result<()> {
        nemesis::carry_out(&mut self.field, &plan.kinds, period).await;
        if self.moves_clocks && moved.elapsed() > retention::STEP {
            self.field.move_all_clocks(retention::STEP_HOURS)?;
            // Until the nodes have noticed, they refuse signatures as too new.
            nemesis::wait(&mut self.field, retention::NOTICED).await;
            *moved = Instant::now();
        }
        Ok(())
    }

    /// Tells the clients to stop, and waits until they have.
    async fn end(&mut self, clients: Vec<JoinHandle<()>>, stop: watch::Sender<bool>) {
        stop.send_replace(true);
        for client in clients {
            if let Err(elapsed) = timeout(LAST_CALL, client).await {
                self.scene.recorder.note(format!("a client did not stop: {elapsed}"));
            }
        }
        self.field.watch_exits();
    }

    /// Records panics, and keeps what the nodes printed.
    fn close(&mut self, out: &Path) -> Result<()> {
        observer::record_panics(&mut self.field.lab, &self.scene.recorder);
        keep_logs(&mut self.field.lab, out)
    }

    fn streams(&self) -> Vec<StreamName> {
        self.workloads.iter().flat_map(|workload| workload.streams()).collect()
    }
}

/// Keeps what the nodes printed.
fn keep_logs(lab: &mut Lab, out: &Path) -> Result<()> {
    for node in lab.nodes() {
        let to = out.join(format!("node-{}.log", node.number()));
        if node.output_file().exists() {
            fs::copy(node.output_file(), to)?;
        }
    }
    Ok(())
}
