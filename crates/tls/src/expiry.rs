//! Warns in the log before certificates expire.
//!
//! The node runs [`remind`] for all its certificate files, those of authorities included. From 30 days before the
//! end, each check writes one line per file. A certificate that expires stops nothing here: the handshakes of new
//! connections will fail.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::interval;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::files::{certificates, unusable};

/// Remaining time below which the log warns.
const NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Time between two checks.
const EVERY: Duration = Duration::from_secs(12 * 3600);

/// When the first certificate in `file` expires.
fn expiry(file: &Path) -> Result<SystemTime, Error> {
    let unreadable = || unusable(file, "holds a certificate that cannot be read");
    let ends = certificates(file)?.into_iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(&certificate).map_err(|_| unreadable())?;
        let seconds = certificate.validity().not_after.timestamp();
        Ok(UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0)))
    });
    let ends: Vec<_> = ends.collect::<Result<_, Error>>()?;
    ends.into_iter().min().ok_or_else(unreadable)
}

/// Checks the certificates in `files` now and twice a day. Logs each one if it has expired or will expire within 30
/// days. Never returns.
pub async fn remind(files: Vec<PathBuf>) -> Infallible {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        for file in &files {
            match expiry(file).map(|expires| days_left(expires, SystemTime::now())) {
                Ok(None) => {}
                Ok(Some(0)) => tracing::error!(?file, "certificate has expired, or expires today"),
                Ok(Some(days)) => tracing::warn!(?file, days, "certificate expires"),
                Err(error) => tracing::error!(%error, "certificate"),
            }
        }
    }
}

/// Whole days until a certificate expires; `None` if it is too early for a warning.
fn days_left(expires: SystemTime, now: SystemTime) -> Option<u64> {
    let left = expires.duration_since(now).unwrap_or_default();
    (left < NOTICE).then_some(left.as_secs() / (24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_warns_from_thirty_days_before_the_end_until_after_it() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
        assert_eq!(days_left(now + day * 30, now), None);
        assert_eq!(days_left(now + day * 29, now), Some(29));
        assert_eq!(days_left(now + day / 2, now), Some(0));
        assert_eq!(days_left(now - day, now), Some(0));
    }
}
