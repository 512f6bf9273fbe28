//! Master keys in a TOML file that only the node's user may access (mode 600).
//!
//! Shape of the file: an array `keys`. Each key has `id` (a UUID), `aliases` (`alias/…`), `state`, and `secret` (64
//! hex digits). The file is read again at each use, so a change by `anabranch ctl master-key` takes effect at once. A
//! change writes a new file and renames it over the old one, so a crash leaves one of the two.
//!
//! Shape of a wrapped data key: version (1 byte: 1) | id of the master key (16) | nonce (12) | AES-256-GCM of the
//! data key (32) | tag (16). The associated data are stream and stream id.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anabranch_types::KeyFault;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::KeyError;
use crate::provider::{DataKeySecret, KeyContext, KeyProvider, NewDataKey};

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const LABEL: &[u8] = b"anabranch data key 1";
const ALIAS: &str = "alias/";
/// Longest alias (AWS KMS API reference, CreateAlias).
const MAX_ALIAS_BYTES: usize = 256;

/// A key file. The value holds only the path.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

/// A master key. The secret is written to the file and shown nowhere else.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MasterKey {
    /// Id of the key; never changes.
    pub id: Uuid,
    /// Other names of the key, `alias/…`. An alias belongs to one key at a time.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether the key may be used.
    pub state: KeyState,
    secret: String,
}

/// Whether a master key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// The key may be used.
    Enabled,
    /// The key must not be used, neither to encrypt nor to decrypt.
    Disabled,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    keys: Vec<MasterKey>,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.id).field("aliases", &self.aliases).finish()
    }
}

impl KeyState {
    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
        }
    }
}

/// Why a key file cannot be read or changed. The text names the file and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key file {path}: {rule}")]
pub struct KeyFileError {
    path: String,
    rule: String,
}

impl KeyFile {
    /// Opens an existing key file and checks its contents.
    ///
    /// # Errors
    /// [`KeyFileError`] if there is no such file, if other users may access it, or if it is not a key file.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let file = Self { path: path.into() };
        file.keys()?;
        Ok(file)
    }

    /// Creates a file with one new key.
    ///
    /// # Errors
    /// [`KeyFileError`] if the file exists, an alias is malformed, or the file cannot be written.
    pub fn create(path: impl Into<PathBuf>, aliases: Vec<String>) -> Result<Self, KeyFileError> {
        let file = Self { path: path.into() };
        if file.path.exists() {
            return Err(file.error("is there already"));
        }
        let mut contents = Contents::default();
        file.push(&mut contents, aliases)?;
        file.write(&contents)?;
        Ok(file)
    }

    /// All keys of the file.
    ///
    /// # Errors
    /// [`KeyFileError`], as [`Self::open`].
    pub fn keys(&self) -> Result<Vec<MasterKey>, KeyFileError> {
        Ok(self.read()?.keys)
    }

    /// Adds a new key and returns its id.
    ///
    /// # Errors
    /// [`KeyFileError`] if an alias is malformed or belongs to another key, or if the file cannot be written.
    pub fn add(&self, aliases: Vec<String>) -> Result<Uuid, KeyFileError> {
        let mut contents = self.read()?;
        let id = self.push(&mut contents, aliases)?;
        self.write(&contents)?;
        Ok(id)
    }

    /// Enables or disables the key that `name` names, and returns its id.
    ///
    /// # Errors
    /// [`KeyFileError`] if there is no such key, or if the file cannot be written.
    pub fn set_state(&self, name: &str, state: KeyState) -> Result<Uuid, KeyFileError> {
        let mut contents = self.read()?;
        let wanted = find(&contents.keys, name).map(|key| key.id);
        let id = wanted.ok_or_else(|| self.error(format!("has no key {name}")))?;
        contents.keys.iter_mut().filter(|key| key.id == id).for_each(|key| key.state = state);
        self.write(&contents)?;
        Ok(id)
    }

    /// Moves `alias` to the key that `name` names, and returns the id of that key. Any other key loses the alias.
    ///
    /// # Errors
    /// [`KeyFileError`] if there is no such key, if the alias is malformed, or if the file cannot be written.
    pub fn set_alias(&self, name: &str, alias: &str) -> Result<Uuid, KeyFileError> {
        let mut contents = self.read()?;
        let wanted = find(&contents.keys, name).map(|key| key.id);
        let id = wanted.ok_or_else(|| self.error(format!("has no key {name}")))?;
        self.check_alias(alias)?;
        for key in &mut contents.keys {
            key.aliases.retain(|known| known != alias);
            if key.id == id {
                key.aliases.push(alias.to_owned());
            }
        }
        self.write(&contents)?;
        Ok(id)
    }

    fn push(&self, contents: &mut Contents, aliases: Vec<String>) -> Result<Uuid, KeyFileError> {
        for alias in &aliases {
            self.check_alias(alias)?;
            if find(&contents.keys, alias).is_some() {
                return Err(self.error(format!("{alias} belongs to another key already")));
            }
        }
        let secret = random::<32>().map_err(|_| self.error("the system has no random numbers"))?;
        let secret = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = Uuid::new_v4();
        contents.keys.push(MasterKey { id, aliases, state: KeyState::Enabled, secret });
        Ok(id)
    }

    fn check_alias(&self, alias: &str) -> Result<(), KeyFileError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
        let name = alias.strip_prefix(ALIAS).unwrap_or_default();
        if name.is_empty() || alias.len() > MAX_ALIAS_BYTES || !name.bytes().all(allowed) {
            return Err(self.error(format!(
                "alias {alias} must be alias/ and letters, digits, /, _ and -, at most {MAX_ALIAS_BYTES} in all"
            )));
        }
        Ok(())
    }

    fn error(&self, rule: impl Into<String>) -> KeyFileError {
        KeyFileError { path: self.path.display().to_string(), rule: rule.into() }
    }

    fn read(&self) -> Result<Contents, KeyFileError> {
        let failed = |error: std::io::Error| self.error(error.to_string());
        let mode = std::fs::metadata(&self.path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(self.error(format!(
                "other users may access it (mode {:03o}): chmod 600",
                mode & 0o777
            )));
        }
        let text = std::fs::read_to_string(&self.path).map_err(failed)?;
        // The error of the TOML parser would show the line, and with it a secret.
        let contents: Contents =
            toml::from_str(&text).map_err(|_| self.error("is not a key file"))?;
        match contents.keys.iter().find(|key| secret(key).is_none()) {
            Some(key) => Err(self.error(format!("key {}: secret must be 64 hex digits", key.id))),
            None => Ok(contents),
        }
    }

    /// Writes a new file beside the old one, syncs it, and renames it over the old one.
    fn write(&self, contents: &Contents) -> Result<(), KeyFileError> {
        let failed = |error: std::io::Error| self.error(error.to_string());
        let text = toml::to_string(contents).map_err(|error| self.error(error.to_string()))?;
        let beside = self.path.with_extension("new");
        let _left_by_a_crash = std::fs::remove_file(&beside);
        let options =
            || std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
        let mut file = options().map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&beside, &self.path).map_err(failed)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = std::fs::File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }

    fn usable(&self, name: &str) -> Result<MasterKey, KeyError> {
        let keys = self.keys().map_err(|error| {
            tracing::error!(%error, "key file");
            KeyError::new(KeyFault::InvalidState, "The key file can't be used.".to_owned())
        })?;
        let not_found = || KeyError::new(KeyFault::NotFound, format!("Key {name} is not found."));
        let key = find(&keys, name).ok_or_else(not_found)?;
        match key.state {
            KeyState::Enabled => Ok(key.clone()),
            KeyState::Disabled => {
                Err(KeyError::new(KeyFault::Disabled, format!("Key {name} is disabled.")))
            }
        }
    }

    fn make(&self, name: &str, context: &KeyContext) -> Result<NewDataKey, KeyError> {
        let key = self.usable(name)?;
        let no_random = |_| KeyError::new(KeyFault::Throttled, "No random numbers.");
        let bytes = random::<32>().map_err(no_random)?;
        let nonce = random::<NONCE_LEN>().map_err(no_random)?;
        let mut wrapped = vec![VERSION];
        wrapped.extend_from_slice(key.id.as_bytes());
        wrapped.extend_from_slice(&nonce);
        let mut text = bytes.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        cipher(&key)?
            .seal_in_place_append_tag(nonce, associated(context), &mut text)
            .map_err(|_| KeyError::new(KeyFault::InvalidState, "The data key can't be wrapped."))?;
        wrapped.extend_from_slice(&text);
        Ok(NewDataKey { secret: DataKeySecret::new(bytes), wrapped })
    }

    fn open_wrapped(
        &self,
        wrapped: &[u8],
        context: &KeyContext,
    ) -> Result<DataKeySecret, KeyError> {
        let broken =
            || KeyError::new(KeyFault::InvalidState, "The wrapped data key is not what it was.");
        let (version, rest) = wrapped.split_first().ok_or_else(broken)?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or_else(broken)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        if *version != VERSION {
            return Err(broken());
        }
        let key = self.usable(&Uuid::from_bytes(*id).to_string())?;
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = cipher(&key)?
            .open_in_place(nonce, associated(context), &mut text)
            .map_err(|_| broken())?;
        let bytes: [u8; 32] = (&*plain).try_into().map_err(|_| broken())?;
        Ok(DataKeySecret::new(bytes))
    }
}

impl KeyProvider for KeyFile {
    fn new_data_key<'a>(
        &'a self,
        master_key: &'a str,
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<NewDataKey, KeyError>> {
        Box::pin(async move { self.make(master_key, context) })
    }

    fn unwrap_data_key<'a>(
        &'a self,
        _master_key: &'a str,
        wrapped: &'a [u8],
        context: &'a KeyContext,
    ) -> BoxFuture<'a, Result<DataKeySecret, KeyError>> {
        Box::pin(async move { self.open_wrapped(wrapped, context) })
    }
}

/// The key that `name` names: an id, an alias, or an ARN of either. Region and account of the ARN are not compared.
fn find<'a>(keys: &'a [MasterKey], name: &str) -> Option<&'a MasterKey> {
    let resource = match name.strip_prefix("arn:") {
        Some(arn) => arn.splitn(5, ':').last()?,
        None => name,
    };
    if resource.starts_with(ALIAS) {
        return keys.iter().find(|key| key.aliases.iter().any(|alias| alias == resource));
    }
    let id = Uuid::from_str(resource.strip_prefix("key/").unwrap_or(resource)).ok()?;
    keys.iter().find(|key| key.id == id)
}

fn secret(key: &MasterKey) -> Option<[u8; 32]> {
    let digits = key.secret.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn cipher(key: &MasterKey) -> Result<LessSafeKey, KeyError> {
    let unusable = || KeyError::new(KeyFault::InvalidState, "The master key can't be used.");
    let bytes = secret(key).ok_or_else(unusable)?;
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| unusable())?))
}

fn associated(context: &KeyContext) -> Aad<Vec<u8>> {
    let mut data = LABEL.to_vec();
    for (name, value) in context.pairs() {
        data.extend_from_slice(format!("\n{name}={value}").as_bytes());
    }
    Aad::from(data)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINESIS: &str = "alias/aws/kinesis";

    fn context(stream: &str) -> KeyContext {
        KeyContext { stream: stream.to_owned(), stream_id: 4 }
    }

    fn file(folder: &tempfile::TempDir) -> KeyFile {
        KeyFile::create(folder.path().join("keys.toml"), vec![KINESIS.to_owned()]).unwrap()
    }

    #[test]
    fn data_keys_are_wrapped_for_one_stream() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        let made = file.make(KINESIS, &context("s")).unwrap();
        assert_eq!(file.open_wrapped(&made.wrapped, &context("s")), Ok(made.secret.clone()));
        let other = file.open_wrapped(&made.wrapped, &context("t")).unwrap_err();
        assert_eq!(other.fault, KeyFault::InvalidState);
        let mut changed = made.wrapped.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(file.open_wrapped(&changed, &context("s")).is_err());
        assert!(file.open_wrapped(&made.wrapped[..9], &context("s")).is_err());
        assert!(!made.wrapped.windows(32).any(|window| window == made.secret.bytes()));
    }

    #[test]
    fn a_key_is_named_by_id_alias_or_arn() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        let id = file.keys().unwrap()[0].id;
        for name in [
            id.to_string(),
            KINESIS.to_owned(),
            format!("arn:aws:kms:eu-west-1:123456789012:key/{id}"),
            format!("arn:aws:kms:eu-west-1:123456789012:{KINESIS}"),
        ] {
            assert!(file.make(&name, &context("s")).is_ok(), "{name}");
        }
        for name in ["alias/other", "00000000-0000-0000-0000-000000000000", "arn:aws:kms", ""] {
            let error = file.make(name, &context("s")).unwrap_err();
            assert_eq!(error.fault, KeyFault::NotFound, "{name}");
        }
    }

    #[test]
    fn a_disabled_key_neither_wraps_nor_unwraps_and_its_alias_may_move() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        let made = file.make(KINESIS, &context("s")).unwrap();
        let first = file.set_state(KINESIS, KeyState::Disabled).unwrap();
        assert_eq!(file.make(KINESIS, &context("s")).unwrap_err().fault, KeyFault::Disabled);
        let opened = file.open_wrapped(&made.wrapped, &context("s"));
        assert_eq!(opened.unwrap_err().fault, KeyFault::Disabled);
        let second = file.add(vec!["alias/second".to_owned()]).unwrap();
        assert_eq!(file.set_alias(&second.to_string(), KINESIS), Ok(second));
        assert!(file.make(KINESIS, &context("s")).is_ok());
        file.set_state(&first.to_string(), KeyState::Enabled).unwrap();
        assert_eq!(file.open_wrapped(&made.wrapped, &context("s")), Ok(made.secret));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_and_errors_show_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(&folder);
        let mode = |mode| {
            std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o640);
        let error = KeyFile::open(&file.path).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
        mode(0o600);
        let text = std::fs::read_to_string(&file.path).unwrap();
        let secret = file.keys().unwrap()[0].secret.clone();
        std::fs::write(&file.path, text.replace("secret", "secrets")).unwrap();
        let error = KeyFile::open(&file.path).unwrap_err().to_string();
        assert!(!error.contains(&secret) && error.ends_with("is not a key file"), "{error}");
        assert!(KeyFile::create(&file.path, Vec::new()).is_err());
        let taken = KeyFile { path: folder.path().join("other.toml") };
        assert!(KeyFile::create(&taken.path, vec!["kinesis".to_owned()]).is_err());
        assert!(!taken.path.exists());
    }
}
