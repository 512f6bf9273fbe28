//! The arguments of `anabranch dev`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config::Limits;

/// `anabranch dev`
#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// Address of the Kinesis API; with several nodes each takes the next port. Port 0 takes free ports
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:4567", value_parser = listen_address)]
    pub(super) listen: SocketAddr,
    /// Data directory
    #[arg(long, value_name = "DIR", default_value = "./anabranch-data")]
    pub(super) data_dir: PathBuf,
    /// Number of nodes; several nodes run as child processes and replicate really
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(super) nodes: u16,
    /// Which limits hold
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Limits::Unlimited)]
    pub(super) limits: Limits,
    /// HTTPS, and mutual TLS of the gRPC ports; the certificates are made in DATA-DIR/tls
    #[arg(long)]
    pub(super) tls: bool,
    /// Admits the pages of this origin, in addition to those of loopback: `https://console.example`. May be given
    /// repeatedly
    #[arg(long, value_name = "ORIGIN")]
    pub(super) allow_origin: Vec<String>,
    /// For tests: a file with the number of whole seconds by which the nodes' clocks are ahead of the machine's (may
    /// be negative)
    #[arg(long, value_name = "FILE")]
    clock_offset_file: Option<PathBuf>,
}

impl DevArgs {
    /// Program and arguments that start the only node again with its data in `dir`. `--listen` is missing: the port
    /// is known later.
    pub(super) fn command(&self, dir: &Path) -> anyhow::Result<Vec<String>> {
        let mut command = vec![
            std::env::current_exe()?.display().to_string(),
            "dev".into(),
            "--data-dir".into(),
            dir.display().to_string(),
        ];
        if self.limits == Limits::Aws {
            command.extend(["--limits".into(), "aws".into()]);
        }
        if self.tls {
            command.push("--tls".into());
        }
        for origin in &self.allow_origin {
            command.extend(["--allow-origin".into(), origin.clone()]);
        }
        if let Some(file) = self.clock_offset_file()? {
            command.extend(["--clock-offset-file".into(), file.display().to_string()]);
        }
        Ok(command)
    }

    /// The path is absolute: a node that is started again may have another working directory.
    pub(super) fn clock_offset_file(&self) -> anyhow::Result<Option<PathBuf>> {
        let file = self.clock_offset_file.as_deref().map(std::path::absolute);
        file.transpose().context("clock-offset-file")
    }
}

/// The address that `text` names. Of a host name, the first IPv4 address is taken, or else the first address.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let resolved = text.to_socket_addrs().map_err(|error| format!("must be HOST:PORT: {error}"))?;
    let addresses: Vec<SocketAddr> = resolved.collect();
    let preferred = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    preferred.copied().ok_or_else(|| "the host has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_names_and_addresses() {
        assert_eq!(listen_address("127.0.0.1:0").unwrap().port(), 0);
        let local = listen_address("localhost:4567").unwrap();
        assert!(local.ip().is_loopback() && local.port() == 4567);
        for wrong in ["localhost", "4567", ":::", "127.0.0.1:99999"] {
            assert!(listen_address(wrong).unwrap_err().contains("must be HOST:PORT"), "{wrong}");
        }
    }
}
