//! `anabranch ctl certs`: makes the certificates of a cluster. It asks no node.
//!
//! A directory has one authority (`ca.pem`, `ca.key`) and, for each node, operator and client, a certificate and a
//! key signed by it. The first run makes the authority; later runs add certificates. Keys are readable only for their
//! user. No file is overwritten without `--renew`, and the authority never is.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anabranch_tls::Role;
use anabranch_tls::issue::{Authority, Issued, Validity};
use anabranch_types::NodeId;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;

use crate::ctl::output::Output;
use crate::replace_file;

/// Arguments of `anabranch ctl certs`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Directory of the files. If it has an authority, certificates are added to that one
    pub dir: PathBuf,
    /// Name of the cluster; needed for a new authority
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// Nodes that get a certificate
    #[arg(long, value_delimiter = ',', value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub nodes: Vec<u64>,
    /// Names and addresses under which clients of the Kinesis API know these nodes
    #[arg(long, value_delimiter = ',', value_name = "HOST", default_values = ["localhost", "127.0.0.1", "::1"])]
    pub hosts: Vec<String>,
    /// Operators that get a certificate; with a new authority there is also `operator`
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub operators: Vec<String>,
    /// Clients that get a certificate; with a new authority there is also `client`
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub clients: Vec<String>,
    /// How long the certificates are valid; a new authority is valid for ten years
    #[arg(long, default_value_t = 365, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Replaces existing certificates of the named owners; the authority stays
    #[arg(long)]
    pub renew: bool,
}

/// The files that were made.
#[derive(Debug)]
pub struct Made {
    cluster: String,
    files: Vec<PathBuf>,
    /// Certificate of the authority, which clients must trust.
    authority: PathBuf,
}

const AUTHORITY: &str = "ca";
const AUTHORITY_DAYS: u32 = 3653;
const OPERATOR: &str = "operator";
const CLIENT: &str = "client";

/// Makes the certificates of `args`. Everything is checked before the first file is written.
///
/// # Errors
/// When a file exists that would be overwritten, a name cannot be in a certificate, or the directory cannot be
/// written.
pub fn make(args: &Args) -> Result<Made> {
    let now = SystemTime::now();
    let dir = &args.dir;
    let there = ["pem", "key"].map(|end| file(dir, AUTHORITY, end).exists());
    let (authority, mut files) = match there {
        [true, true] => (read_authority(args)?, Vec::new()),
        [false, false] => {
            let cluster = args.cluster.as_deref().context("--cluster: a new authority needs it")?;
            let days = args.days.max(AUTHORITY_DAYS);
            let (authority, issued) =
                Authority::new(cluster, Validity::days(days, now)).context("--cluster")?;
            (authority, vec![(AUTHORITY.to_owned(), issued)])
        }
        [_, has_key] => {
            let missing = file(dir, AUTHORITY, if has_key { "pem" } else { "key" });
            bail!("{}: is missing, which is needed to add certificates", missing.display());
        }
    };
    let wanted = wanted(args, !files.is_empty());
    ensure!(!wanted.is_empty(), "nothing to make: name --nodes, --operators or --clients");
    for (name, role) in wanted {
        let hosts = if matches!(role, Role::Node(_)) { &args.hosts[..] } else { &[] };
        let output = role.to_string();
        let issued = authority.issue(role, hosts, Validity::days(args.days, now));
        files.push((name, issued.with_context(|| output)?));
    }
    if !args.renew {
        let mut paths =
            files.iter().flat_map(|(name, _)| ["pem", "key"].map(|end| file(dir, name, end)));
        if let Some(path) = paths.find(|path| path.exists()) {
            bail!("{}: exists; --renew replaces it", path.display());
        }
    }
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let mut written = Vec::new();
    for (name, issued) in &files {
        let (certificate, key) = (file(dir, name, "pem"), file(dir, name, "key"));
        replace_file(&certificate, &issued.certificate, 0o644)?;
        replace_file(&key, &issued.key, 0o600)?;
        written.extend([certificate, key]);
    }
    let cluster = authority.cluster().to_owned();
    Ok(Made { cluster, files: written, authority: file(dir, AUTHORITY, "pem") })
}

/// The files, and a note which file clients must trust.
pub(super) fn output(made: &Made) -> Output {
    let files: Vec<_> = made.files.iter().map(|path| path.display().to_string()).collect();
    let authority = made.authority.display().to_string();
    let mut lines = files.clone();
    lines.push(format!("clients of cluster {} are to trust {authority}", made.cluster));
    Output { lines, json: json!({ "cluster": made.cluster, "ca": authority, "files": files }) }
}

/// The certificates to make: base name of the files, and owner.
fn wanted(args: &Args, is_new: bool) -> Vec<(String, Role)> {
    let named = |kind: &str, name: &str| match name == kind {
        true => kind.to_owned(),
        false => format!("{kind}-{name}"),
    };
    let first = |kind: &'static str| is_new.then(|| kind.to_owned());
    let nodes = args.nodes.iter().map(|id| (format!("node-{id}"), Role::Node(NodeId(*id))));
    let operators = first(OPERATOR).into_iter().chain(args.operators.iter().cloned());
    let operators = operators.map(|name| (named(OPERATOR, &name), Role::Operator(name)));
    let clients = first(CLIENT).into_iter().chain(args.clients.iter().cloned());
    let clients = clients.map(|name| (named(CLIENT, &name), Role::Client(name)));
    let mut wanted: Vec<_> = nodes.chain(operators).chain(clients).collect();
    wanted.sort_by(|(one, _), (other, _)| one.cmp(other));
    wanted.dedup_by(|(one, _), (other, _)| one == other);
    wanted
}

fn read_authority(args: &Args) -> Result<Authority> {
    let read = |end| {
        let path = file(&args.dir, AUTHORITY, end);
        std::fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let issued = Issued { certificate: read("pem")?, key: read("key")? };
    let authority = Authority::read(&issued)
        .with_context(|| file(&args.dir, AUTHORITY, "pem").display().to_string())?;
    let (own, asked) = (authority.cluster(), args.cluster.as_deref());
    ensure!(
        asked.is_none_or(|asked| asked == own),
        "--cluster: the authority in {} is of cluster {own}",
        args.dir.display(),
    );
    Ok(authority)
}

fn file(dir: &Path, name: &str, end: &str) -> PathBuf {
    dir.join(format!("{name}.{end}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    /// The certificates that `ctl certs` makes in `dir`, as names of files.
    fn certs(dir: &TempDir, words: &str) -> Result<Vec<String>> {
        let dir = dir.path().display().to_string();
        let words = ["certs", &dir].into_iter().chain(words.split_whitespace());
        let made = make(&Cli::parse_from(words).args)?;
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(made.files.iter().map(name).filter(|name| name.ends_with(".pem")).collect())
    }

    fn refused(dir: &TempDir, words: &str) -> String {
        format!("{:#}", certs(dir, words).unwrap_err())
    }

    #[test]
    fn a_new_set_is_complete_and_keys_are_readable_only_for_their_user() {
        let dir = tempfile::tempdir().unwrap();
        let made = certs(&dir, "--cluster c --nodes 1,2 --operators bob").unwrap();
        let all = ["ca", "client", "node-1", "node-2", "operator", "operator-bob"];
        assert_eq!(made, all.map(|name| format!("{name}.pem")));
        for name in all {
            let mode = |end| file(dir.path(), name, end).metadata().unwrap().permissions().mode();
            assert_eq!((mode("pem") & 0o777, mode("key") & 0o777), (0o644, 0o600), "{name}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2 * all.len());
    }

    #[test]
    fn certificates_are_added_and_no_file_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        certs(&dir, "--cluster c --nodes 1").unwrap();
        let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let (ca, first) = (read("ca.pem"), read("node-1.pem"));
        assert!(refused(&dir, "--nodes 1,2").ends_with("node-1.pem: exists; --renew replaces it"));
        assert!(!dir.path().join("node-2.pem").exists());
        assert_eq!(
            certs(&dir, "--nodes 2 --clients app").unwrap(),
            ["client-app.pem", "node-2.pem"]
        );
        assert!(refused(&dir, "").starts_with("nothing to make"));
        assert!(refused(&dir, "--cluster d --nodes 3").contains("is of cluster c"));
        assert_eq!((read("ca.pem"), read("node-1.pem")), (ca.clone(), first.clone()));
        assert_eq!(certs(&dir, "--nodes 1 --renew").unwrap(), ["node-1.pem"]);
        assert_eq!(read("ca.pem"), ca);
        assert_ne!(read("node-1.pem"), first);
        std::fs::remove_file(dir.path().join("ca.key")).unwrap();
        assert!(refused(&dir, "--nodes 4").contains("ca.key: is missing"));
    }

    #[test]
    fn an_invalid_name_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refused(&dir, "--nodes 1").starts_with("--cluster: a new authority needs it"));
        assert!(
            refused(&dir, "--cluster a/b --nodes 1").starts_with("--cluster: \"a/b\": must be")
        );
        assert!(
            refused(&dir, "--cluster c --clients a/b").starts_with("client a/b: \"a/b\": must be")
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
