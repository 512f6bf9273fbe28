//! Makes certificates: an authority for one cluster, and the certificates that it signs for nodes, operators and
//! clients.
//!
//! Keys are ECDSA P-256. Nothing here touches the disk: the caller writes the files. A later run reads the authority
//! back ([`Authority::read`]) to sign further certificates.

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

/// When a certificate begins and ends to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from: SystemTime,
    /// Last moment.
    pub until: SystemTime,
}

impl Validity {
    /// Valid for `days` days after `now`. It begins an hour before `now`, because the clocks of other machines may be
    /// behind.
    pub fn days(days: u32, now: SystemTime) -> Self {
        const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { from: now - CLOCKS_DIFFER, until: now + DAY * days }
    }
}

/// A certificate and its private key, both in PEM. `Debug` does not show the key.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The authority that signs the certificates of one cluster.
#[derive(Debug)]
pub struct Authority {
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
}

const COMMON_NAME: &str = "Anabranch authority";

impl Authority {
    /// Makes a new authority, and its certificate and key.
    ///
    /// # Errors
    /// [`Error::Issue`] if the cluster's name does not fit into a certificate, or if no key can be made.
    pub fn new(cluster: &str, validity: Validity) -> Result<(Self, Issued), Error> {
        let key = new_key()?;
        let mut params = authority(cluster)?;
        set_validity(&mut params, validity);
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        let issued = Issued { certificate, key: key.serialize_pem() };
        let issuer = Issuer::new(params, key);
        Ok((Self { cluster: cluster.to_owned(), issuer }, issued))
    }

    /// Reads an authority back that [`Self::new`] made.
    ///
    /// # Errors
    /// [`Error::Issue`] if the certificate is not of such an authority, or if certificate and key do not belong
    /// together.
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

    /// Name of the cluster whose certificates it signs.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Issues a certificate that names `role` as its owner. The certificate of a node is also valid for `hosts`
    /// (names and addresses), so that clients of the Kinesis API accept it.
    ///
    /// # Errors
    /// [`Error::Issue`] says what does not fit into a certificate.
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

/// The contents of an authority's certificate, without its dates. `read` must make the same contents as `new`, or the
/// certificates that it signs would not lead to the authority's.
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
