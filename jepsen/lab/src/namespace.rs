//! A network namespace: the network of one host.

use std::fs::{self, File};
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::sh;

/// A network namespace with a name. It is removed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

/// Settings of TCP that make a connection notice an outage within seconds. Otherwise the time after a healed cut would
/// be the back-off of TCP, and not that of the cluster.
const TCP_SETTINGS: [(&str, &str); 2] = [("tcp_retries2", "5"), ("tcp_syn_retries", "2")];

impl Namespace {
    /// Makes a namespace, with its loopback interface up.
    ///
    /// # Errors
    /// If this process may not, or the name is taken.
    pub(crate) fn create(name: String) -> Result<Self> {
        sh(&format!("ip netns add {name}"))?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        namespace.on_a_thread(|| {
            for (key, value) in TCP_SETTINGS {
                let path = format!("/proc/sys/net/ipv4/{key}");
                fs::write(&path, value).with_context(|| path)?;
            }
            Ok(())
        })?;
        Ok(namespace)
    }

    /// Path of the file that keeps the namespace.
    #[must_use]
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Name of the namespace.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace. Sockets that the thread opens later belong to the namespace.
    ///
    /// # Errors
    /// If this process may not.
    pub(crate) fn enter(&self) -> Result<()> {
        Self::enter_path(&self.path())
    }

    /// As [`Self::enter`], for a thread that has only the path of a namespace.
    ///
    /// # Errors
    /// If this process may not.
    pub(crate) fn enter_path(path: &str) -> Result<()> {
        let file = File::open(path).with_context(|| path.to_owned())?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter the network namespace")
    }

    /// Runs `ip` inside the namespace.
    pub(crate) fn ip(&self, arguments: &str) -> Result<String> {
        sh(&format!("ip -n {} {arguments}", self.name))
    }

    /// Calls `work` on a thread inside the namespace.
    pub(crate) fn on_a_thread<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                work()
            });
            thread.join().unwrap_or_else(|_panic| Err(anyhow::anyhow!("a thread of the lab ended")))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = sh(&format!("ip netns del {}", self.name)) {
            eprintln!("lab: {error:#}");
        }
    }
}
