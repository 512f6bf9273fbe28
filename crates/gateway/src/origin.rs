//! Decides which web pages may call the gateway from a browser.
//!
//! If signatures are verified, pages of every origin may call, as in AWS, because a page without a key cannot sign.
//! If any credentials are accepted, a page that a user opens by chance could read and delete the streams of a gateway
//! on the same machine. So only pages from loopback and from configured origins may call such a gateway.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::ORIGIN;
use http::uri::{Authority, Uri};

use crate::settings::{Authentication, GatewaySettings};

/// Whether the request comes from a page that may not call.
pub(crate) fn is_foreign(settings: &GatewaySettings, headers: &HeaderMap) -> bool {
    if settings.authentication == Authentication::Required {
        return false;
    }
    let allowed = &settings.allowed_origins;
    let is_allowed =
        |origin: &str| is_of_loopback(origin) || allowed.iter().any(|one| one == origin);
    let mut origins = headers.get_all(ORIGIN).iter();
    !origins.all(|origin| origin.to_str().is_ok_and(is_allowed))
}

/// Whether the origin is a page on this machine, such as `http://localhost:3000`.
fn is_of_loopback(origin: &str) -> bool {
    let uri: Option<Uri> = origin.parse().ok();
    let authority = uri.as_ref().and_then(Uri::authority);
    authority.map(Authority::host).is_some_and(|host| {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let is_name = bare == "localhost" || bare.ends_with(".localhost");
        is_name || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_origins_on_this_machine_are_loopback() {
        for origin in [
            "http://localhost",
            "https://localhost:3000",
            "http://app.localhost:1",
            "http://127.0.0.1:4567",
            "http://127.1.2.3",
            "http://[::1]:80",
        ] {
            assert!(is_of_loopback(origin), "{origin}");
        }
        for origin in [
            "null",
            "",
            "localhost.example.org",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "http://10.0.0.1",
            "http://example.org/localhost",
            "http://example.org#localhost",
            "https://[::2]",
        ] {
            assert!(!is_of_loopback(origin), "{origin}");
        }
    }
}
