//! Makes certificates: an authority of one cluster, and what it signs for its nodes, operators and clients.
//!
//! Keys are ECDSA P-256. Everything here is in memory; who calls it writes the files.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::identity::{Identity, Role, is_name};

/// From when and until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: SystemTime,
    /// Until then.
    pub until: SystemTime,
}

impl Validity {
    /// So many days, from an hour before `now`: clocks differ.
    pub fn days(days: u32, now: SystemTime) -> Self {
        const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { from: now - CLOCKS_DIFFER, until: now + DAY * days }
    }
}

/// A certificate and its key, both in PEM. Shows nothing of the key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Who signs the certificates of one cluster.
#[derive(Debug)]
pub struct Authority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
}

const COMMON_NAME: &str = "Anabranch authority";

impl Authority {
    /// A new one, with its certificate and key.
    ///
    /// # Errors
    /// [`Error::Issue`] if the cluster's name is none that a certificate can carry, or no key can be made.
    pub fn new(cluster: &str, validity: Validity) -> Result<(Self, Issued), Error> {
        let key = new_key()?;
        let mut params = authority(cluster)?;
        set_validity(&mut params, validity);
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        let issued = Issued { certificate, key: key.serialize_pem() };
        let issuer = Issuer::new(params, key);
        Ok((Self { cluster: cluster.to_owned(), issuer }, issued))
    }

    /// One that [`Self::new`] made.
    ///
    /// # Errors
    /// [`Error::Issue`] if `issued` isn't of it, or certificate and key don't belong together.
    pub fn read(issued: &Issued) -> Result<Self, Error> {
        let foreign = || Error::Issue("is not an authority that was made here".into());
        let der =
            CertificateDer::from_pem_slice(issued.certificate.as_bytes()).map_err(|_| foreign())?;
        let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| foreign())?;
        let key = KeyPair::from_pem(&issued.key).map_err(failed)?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(Error::Issue("certificate and key of the authority don't match".into()));
        }
        let mut of = certificate.subject().iter_organization();
        let cluster = of.next().and_then(|name| name.as_str().ok()).ok_or_else(foreign)?;
        let mut named = certificate.subject().iter_common_name();
        if named.next().and_then(|name| name.as_str().ok()) != Some(COMMON_NAME) {
            return Err(foreign());
        }
        Ok(Self { cluster: cluster.to_owned(), issuer: Issuer::new(authority(cluster)?, key) })
    }

    /// Whose certificates it signs.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// A certificate that says that its owner is `role`. A node's is good for `hosts` too, names and addresses, so that
    /// clients of the Kinesis API take it.
    ///
    /// # Errors
    /// [`Error::Issue`], which says what can't be put into a certificate.
    pub fn issue(&self, role: Role, hosts: &[String], validity: Validity) -> Result<Issued, Error> {
        let mut purposes = vec![ExtendedKeyUsagePurpose::ClientAuth];
        match &role {
            Role::Node(_) => purposes.push(ExtendedKeyUsagePurpose::ServerAuth),
            Role::Operator(name) | Role::Client(name) => check_name(name)?,
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&self.cluster, &role.to_string());
        let identity = Identity { cluster: self.cluster.clone(), role };
        let identity = identity.to_string().try_into().map_err(failed)?;
        params.subject_alt_names = vec![SanType::URI(identity)];
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.clone().try_into().map_err(failed)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, validity);
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

/// What an authority's certificate says, but for its dates: the same each time, or what it signs would not lead to it.
fn authority(cluster: &str) -> Result<CertificateParams, Error> {
    check_name(cluster)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = name(cluster, COMMON_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn check_name(name: &str) -> Result<(), Error> {
    let rule = "must be 1 to 64 letters, digits, '-', '_' and '.'";
    if is_name(name) { Ok(()) } else { Err(Error::Issue(format!("{name:?}: {rule}"))) }
}

fn name(cluster: &str, common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, cluster);
    name.push(DnType::CommonName, common);
    name
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since(validity.from);
    params.not_after = epoch + since(validity.until);
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)
}

fn failed(error: rcgen::Error) -> Error {
    Error::Issue(error.to_string())
}
