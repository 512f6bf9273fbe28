//! Arguments that several measurements share.

use std::path::PathBuf;
use std::time::Duration;

use anabranch_cli::TlsArgs;
use anyhow::{Context, Result, bail, ensure};

/// The target of a measurement, and the form of the load.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Target {
    /// Address of the endpoint: `http://HOST:PORT` for every API, or `https://HOST:PORT` of a Kinesis API with `--ca`
    /// or `--tls-dir`. Connections are distributed over several endpoints in turn
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:4567")]
    pub(crate) endpoint: Vec<http::Uri>,
    /// API of the server. For gRPC the endpoint is the gRPC port of a node. `nats`, `kafka` and `etcd` are other
    /// logs, for puts only
    #[arg(long, value_enum, default_value_t = Api::Kinesis)]
    pub(crate) api: Api,
    /// Stream to use; it must exist. For NATS it is one JetStream stream or several, `a,b`; for Kafka a topic; for
    /// etcd a prefix of keys
    #[arg(long)]
    pub(crate) stream: String,
    /// Connections; each has one call under way at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// HTTP/2 instead of HTTP/1.1; without TLS by prior knowledge
    #[arg(long)]
    pub(crate) http2: bool,
    /// Counts a throttled or failed call as an error, without a retry
    #[arg(long)]
    pub(crate) no_retry: bool,
    /// Timeout of a call
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Processes of the server, to report their CPU seconds and resident set
    #[arg(long, value_delimiter = ',')]
    pub(crate) server_pids: Vec<u32>,
    /// A directory on the disk of the server, to report the bytes that the device writes meanwhile, for all processes
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
    /// Certificates for gRPC; the authority of `https://` endpoints
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// The API through which a server is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// The Kinesis API in JSON, of any server.
    Kinesis,
    /// The native gRPC API of Anabranch.
    Grpc,
    /// The API of NATS JetStream.
    Nats,
    /// The API of Apache Kafka.
    Kafka,
    /// The API of etcd.
    Etcd,
}

/// Address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_https: bool,
}

impl Target {
    /// Host and port for connection `number`, without TLS or with that of gRPC.
    ///
    /// # Errors
    /// Names the valid form of an endpoint.
    pub(crate) fn authority(&self, number: usize) -> Result<(String, u16)> {
        authority(self.endpoint.get(number % self.endpoint.len().max(1)))
    }

    /// Every endpoint of the Kinesis API.
    ///
    /// # Errors
    /// Names the valid form of an endpoint.
    pub(crate) fn addresses(&self) -> Result<Vec<Address>> {
        self.endpoint.iter().map(|endpoint| address(Some(endpoint))).collect()
    }

    /// Host and port of every endpoint, without TLS or with that of gRPC.
    ///
    /// # Errors
    /// Names the valid form of an endpoint.
    pub(crate) fn authorities(&self) -> Result<Vec<(String, u16)>> {
        self.endpoint.iter().map(|endpoint| authority(Some(endpoint))).collect()
    }
}

/// When to stop.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Until {
    /// How long to run: `10s`, `500ms`, `2m`
    #[arg(long, value_parser = duration, conflicts_with = "count")]
    pub(crate) duration: Option<Duration>,
    /// How many records to send or read
    #[arg(long)]
    pub(crate) count: Option<u64>,
}

impl Until {
    /// These limits, or `default` as the duration if there is neither limit.
    pub(crate) fn or(self, default: Duration) -> Self {
        let neither = self.duration.is_none() && self.count.is_none();
        Self { duration: if neither { Some(default) } else { self.duration }, ..self }
    }
}

/// Host and port of an `http://` endpoint.
fn authority(endpoint: Option<&http::Uri>) -> Result<(String, u16)> {
    let Address { host, port, is_https } = address(endpoint)?;
    ensure!(!is_https, "--endpoint: https:// is for --api kinesis");
    Ok((host, port))
}

/// The address in an `http://` or `https://` URL.
fn address(endpoint: Option<&http::Uri>) -> Result<Address> {
    let endpoint = endpoint.context("--endpoint: must be http://HOST:PORT")?;
    let (is_https, port) = match endpoint.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => bail!("--endpoint: must be http://HOST:PORT, not {endpoint}"),
    };
    let host = endpoint.host().context("--endpoint: no host")?.to_owned();
    Ok(Address { host, port: endpoint.port_u16().unwrap_or(port), is_https })
}

/// Parses `10s`, `500ms`, `2m`.
///
/// # Errors
/// Names the valid forms.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => bail!("must be a number with a unit: 10s, 500ms or 2m"),
    };
    let number: f64 = number.parse().context("must be a number with a unit: 10s, 500ms or 2m")?;
    ensure!((0.0..=1e9).contains(&number), "must lie between 0 and 1,000,000,000");
    Ok(Duration::from_secs_f64(number * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("10s").unwrap(), Duration::from_secs(10));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        for wrong in ["", "10", "s", "-1s", "1h", "NaNs", "1e300s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_plain_http_and_of_the_kinesis_api_https_too() {
        let plain = |text: &str| authority(Some(&text.parse().unwrap()));
        assert_eq!(plain("http://127.0.0.1:4567").unwrap(), ("127.0.0.1".into(), 4567));
        assert!(plain("https://127.0.0.1:4567").is_err());
        assert!(plain("127.0.0.1:4567").is_err());
        let any = |text: &str| address(Some(&text.parse().unwrap()));
        let https = Address { host: "example.com".into(), port: 443, is_https: true };
        assert_eq!(any("https://example.com").unwrap(), https);
        assert!(!any("http://example.com").unwrap().is_https);
        assert!(any("ftp://example.com").is_err());
    }
}
