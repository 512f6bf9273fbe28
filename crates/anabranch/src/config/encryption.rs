//! Section `[encryption]` of a node's configuration: where master keys are, and how long a data key is used.
//!
//! Master keys are in a file or in a key management service, never in both. A value that has no use, such as a region
//! without an endpoint, is an error.

use std::path::PathBuf;
use std::time::Duration;

use anabranch_encryption::EncryptionSettings;
use anyhow::bail;
use serde::{Deserialize, Serialize};

/// Section `[encryption]` of a configuration file.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RawEncryption {
    /// A file made by `anabranch ctl master-key create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    /// Base URL of a service with the API of AWS KMS.
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_cache_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_max_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_key_max_bytes: Option<u64>,
}

/// Where the master keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyHolder {
    /// Nowhere: no stream can be encrypted.
    None,
    /// In a file of this node.
    File(PathBuf),
    /// In a service with the API of AWS KMS.
    Kms {
        /// Base URL of the service.
        endpoint: String,
        /// Region in signatures.
        region: String,
    },
}

impl RawEncryption {
    /// Master keys in a file; everything else as by default.
    pub(crate) fn of_file(key_file: PathBuf) -> Self {
        Self { key_file: Some(key_file), ..Self::default() }
    }

    pub(super) fn check(self) -> anyhow::Result<(KeyHolder, EncryptionSettings)> {
        let holder = match (self.key_file, self.kms_endpoint) {
            (Some(_), Some(_)) => bail!("kms-endpoint: there is a key-file already"),
            (Some(file), None) => KeyHolder::File(file),
            (None, Some(endpoint)) => {
                let region = self.kms_region.clone().unwrap_or_else(|| "us-east-1".to_owned());
                KeyHolder::Kms { endpoint, region }
            }
            (None, None) => KeyHolder::None,
        };
        if self.kms_region.is_some() && !matches!(holder, KeyHolder::Kms { .. }) {
            bail!("kms-region: there is no kms-endpoint");
        }
        let defaults = EncryptionSettings::default();
        let seconds =
            |given: Option<u64>, default: Duration| given.map_or(default, Duration::from_secs);
        let settings = EncryptionSettings {
            cache: seconds(self.data_key_cache_seconds, defaults.cache),
            max_age: seconds(self.data_key_max_age_seconds, defaults.max_age),
            max_bytes: self.data_key_max_bytes.unwrap_or(defaults.max_bytes),
        };
        if settings.max_age.is_zero() || settings.max_bytes == 0 {
            bail!("data-key-max-age-seconds, data-key-max-bytes: must be above 0");
        }
        Ok((holder, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn master_keys_are_in_one_place_only() {
        let holder = |text: &str| {
            let raw: RawEncryption = toml::from_str(text).unwrap();
            raw.check().map(|(holder, _)| holder).map_err(|error| error.to_string())
        };
        assert_eq!(holder(""), Ok(KeyHolder::None));
        assert_eq!(holder("key-file = 'k'"), Ok(KeyHolder::File("k".into())));
        let both = holder("key-file = 'k'\nkms-endpoint = 'http://h'").unwrap_err();
        assert!(both.starts_with("kms-endpoint: "), "{both}");
        assert!(holder("kms-region = 'r'").unwrap_err().starts_with("kms-region: "));
        assert!(holder("data-key-max-bytes = 0").unwrap_err().starts_with("data-key-max-age"));
    }
}
