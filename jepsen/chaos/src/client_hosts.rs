//! Threads of the clients. A task that runs on one of them reaches the nodes only through the network with faults.

use std::thread::JoinHandle;

use anyhow::{Context, Result};
use chaos_lab::ClientPlace;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task;

/// The client hosts. Their threads end when the value is dropped.
pub(crate) struct ClientHosts {
    hosts: Vec<ClientHost>,
    next: usize,
}

struct ClientHost {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
    _thread: JoinHandle<()>,
}

impl ClientHosts {
    /// One thread at each place.
    ///
    /// # Errors
    /// If a thread can't enter its place.
    pub(crate) fn start(places: &[ClientPlace]) -> Result<Self> {
        let hosts = places.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { hosts, next: 0 })
    }

    /// Runs a client on the next host in turn.
    pub(crate) fn spawn<T: Send + 'static>(
        &mut self,
        client: impl Future<Output = T> + Send + 'static,
    ) -> task::JoinHandle<T> {
        let host = &self.hosts[self.next % self.hosts.len()];
        self.next += 1;
        host.runtime.spawn(client)
    }
}

fn start(place: &ClientPlace) -> Result<ClientHost> {
    let (stop, stopped) = oneshot::channel::<()>();
    let (started, handle) = std::sync::mpsc::channel();
    let place = place.clone();
    let thread = std::thread::Builder::new().name("client".into()).spawn(move || {
        let built = place
            .enter()
            .and_then(|()| Builder::new_current_thread().enable_all().build().map_err(Into::into));
        match built {
            Ok(runtime) => {
                let _received = started.send(Ok(runtime.handle().clone()));
                // The sender is dropped when the run is over.
                let _over = runtime.block_on(stopped);
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    let runtime = handle.recv().context("a client's thread ended")??;
    Ok(ClientHost { runtime, _stop: stop, _thread: thread })
}
