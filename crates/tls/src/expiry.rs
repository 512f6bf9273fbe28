use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::interval;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::files::{certificates, unusable};

/// How long before its end the log begins to speak of a certificate.
const NOTICE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often it does.
const EVERY: Duration = Duration::from_secs(12 * 3600);

/// When the first of the certificates in `file` expires.
fn expiry(file: &Path) -> Result<SystemTime, Error> {
    let unreadable = || unusable(file, "holds a certificate that can't be read");
    let ends = certificates(file)?.into_iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(&certificate).map_err(|_| unreadable())?;
        let seconds = certificate.validity().not_after.timestamp();
        Ok(UNIX_EPOCH + Duration::from_secs(seconds.try_into().unwrap_or(0)))
    });
    let ends: Vec<_> = ends.collect::<Result<_, Error>>()?;
    ends.into_iter().min().ok_or_else(unreadable)
}

/// Says in the log, now and twice a day, which of the files hold a certificate that has expired or will within 30 days.
/// Never ends.
pub async fn remind(files: Vec<PathBuf>) -> Infallible {
    let mut ticks = interval(EVERY);
    loop {
        ticks.tick().await;
        for file in &files {
            match expiry(file).map(|expires| days_left(expires, SystemTime::now())) {
                Ok(None) => {}
                Ok(Some(0)) => tracing::error!(?file, "certificate has expired, or does today"),
                Ok(Some(days)) => tracing::warn!(?file, days, "certificate expires"),
                Err(error) => tracing::error!(%error, "certificate"),
            }
        }
    }
}

/// Whole days until then, if that is worth a word.
fn days_left(expires: SystemTime, now: SystemTime) -> Option<u64> {
    let left = expires.duration_since(now).unwrap_or_default();
    (left < NOTICE).then_some(left.as_secs() / (24 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thirty_days_are_worth_a_word_and_what_is_over_has_none() {
        let (now, day) = (SystemTime::now(), Duration::from_secs(24 * 3600));
        assert_eq!(days_left(now + day * 30, now), None);
        assert_eq!(days_left(now + day * 29, now), Some(29));
        assert_eq!(days_left(now + day / 2, now), Some(0));
        assert_eq!(days_left(now - day, now), Some(0));
    }
}
