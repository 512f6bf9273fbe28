//! `anabranch ctl master-key`: the file of master keys of a node. It asks no node.
//!
//! A node reads the file at each use, so a key is enabled and disabled without a restart. The
//! output never has a key itself.

use std::path::PathBuf;

use anabranch_encryption::{KeyFile, KeyState, MasterKey};
use anyhow::Result;
use serde_json::{Value, json};

use crate::ctl::output::Output;

#[derive(Debug, clap::Subcommand)]
pub(super) enum MasterKeys {
    /// Makes a file with one key; only its owner may read it
    Create {
        /// The file, `key-file` of the section `encryption` of a node's configuration
        file: PathBuf,
        /// Names of the key
        #[arg(long, value_name = "ALIAS", default_value = "alias/aws/kinesis")]
        alias: Vec<String>,
    },
    /// Adds a key
    Add {
        /// The file
        file: PathBuf,
        /// Names of the key; no other key may have them
        #[arg(long, value_name = "ALIAS")]
        alias: Vec<String>,
    },
    /// Lists the keys and whether they may be used; never the keys themselves
    List {
        /// The file
        file: PathBuf,
    },
    /// Moves an alias to another key: new data keys are wrapped by that key, old ones stay readable
    Alias {
        /// The file
        file: PathBuf,
        /// Id of the key, or a name that it has
        key: String,
        /// The alias
        alias: String,
    },
    /// Enables a key
    Enable {
        /// The file
        file: PathBuf,
        /// Id of the key, or a name that it has
        key: String,
    },
    /// Disables a key: streams under it neither take nor return records
    Disable {
        /// The file
        file: PathBuf,
        /// Id of the key, or a name that it has
        key: String,
    },
}

pub(super) fn run(what: MasterKeys) -> Result<Output> {
    Ok(match what {
        MasterKeys::Create { file, alias } => list(&KeyFile::create(file, alias)?.keys()?),
        MasterKeys::List { file } => list(&KeyFile::open(file)?.keys()?),
        MasterKeys::Add { file, alias } => {
            let id = KeyFile::open(file)?.add(alias)?;
            Output::line(format!("key {id} is added"), json!({ "added": id.to_string() }))
        }
        MasterKeys::Alias { file, key, alias } => {
            let id = KeyFile::open(file)?.set_alias(&key, &alias)?;
            let response = json!({ "alias": alias, "key": id.to_string() });
            Output::line(format!("{alias} names key {id}"), response)
        }
        MasterKeys::Enable { file, key } => set(file, &key, KeyState::Enabled)?,
        MasterKeys::Disable { file, key } => set(file, &key, KeyState::Disabled)?,
    })
}

fn set(file: PathBuf, key: &str, state: KeyState) -> Result<Output> {
    let id = KeyFile::open(file)?.set_state(key, state)?;
    let response = json!({ "key": id.to_string(), "state": state.name() });
    Ok(Output::line(format!("key {id} is {}", state.name()), response))
}

fn list(keys: &[MasterKey]) -> Output {
    let lines = keys.iter().map(|key| {
        let names = key.aliases.join(", ");
        format!("{}  {:<8}  {names}", key.id, key.state.name())
    });
    let json = keys.iter().map(|key| {
        json!({ "id": key.id.to_string(), "state": key.state.name(), "aliases": key.aliases })
    });
    Output { lines: lines.collect(), json: Value::Array(json.collect()) }
}
