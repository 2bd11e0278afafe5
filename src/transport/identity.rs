//! Who a node is, to other machines: the cluster's certificate authority and the certificates that it signs.
//!
//! 1. A cluster has one self-signed CA. Whoever holds its key can make nodes; running nodes need only its certificate.
//! 2. Each node has a key and one certificate of that CA. Its single name says the node's id: `node-7.headframe`.
//! 3. A peer is who its verified certificate names. What a message says about its sender is never believed.
//!
//! An [`Identity`] exists only after everything that peers will check has been checked here, so that a wrong file is an
//! error at the start and not a riddle later. [`files`](super::files) reads and writes them as files.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, date_time_ymd};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::cluster::NodeId;

/// 1 January 2024.
const START_OF_2024: Duration = Duration::from_secs(1_704_067_200);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The CA outlives several generations of node certificates.
const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Long enough not to be in the way, short enough that a forgotten machine's certificate ends.
const NODE_VALIDITY: Duration = Duration::from_secs(2 * 365 * 24 * 60 * 60);

/// Why something is no identity for a node of this cluster.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The clock is before this program was made: what it makes would not be valid on other machines.
    #[error("expected a clock after 2023, got one of {0} s since 1970: set this machine's clock")]
    Clock(u64),
    /// A CA's key is in a form that cannot be read here.
    #[error(
        "expected the CA's key in the form PKCS#8, got {0}: run `(umask 077 && openssl pkcs8 -topk8 -nocrypt -in ca.key -out ca.new) && mv ca.new ca.key`"
    )]
    KeyForm(&'static str),
    /// A key or certificate could not be made or read.
    #[error("expected a key and a certificate that can be used: {0}; make new ones with `headframe certs`")]
    Generate(#[from] rcgen::Error),
    /// Not PEM, or not of the kind that was expected.
    #[error("expected a PEM file with {expected}: {cause}; make a new one with `headframe certs`")]
    Pem {
        /// What should have been there.
        expected: &'static str,
        /// What the reader says.
        cause: rustls::pki_types::pem::Error,
    },
    /// The certificate is not one of Headframe's.
    #[error("expected a certificate with the single name node-ID.headframe, got {0}; make one with `headframe certs`")]
    Name(String),
    /// The certificate is another node's.
    #[error("expected the certificate of node {expected}, got that of node {got}: every node needs its own")]
    OtherNode {
        /// The node that it should be for.
        expected: NodeId,
        /// The node that it is for.
        got: NodeId,
    },
    /// The key is not the certificate's.
    #[error("expected the key that belongs to the certificate, got another: copy both of one node together")]
    OtherKey,
    /// The certificate is not the CA's.
    #[error(
        "expected a certificate signed by this cluster's CA, got one of another: take all files from one directory"
    )]
    OtherCluster,
    /// The certificate cannot sign others.
    #[error("expected the certificate of a cluster's CA, got one that may not sign others: take ca.pem and ca.key")]
    NotCa,
    /// The CA's name has attributes that cannot be written into other certificates.
    #[error(
        "expected a CA's certificate with a name of ordinary attributes, got unusual ones: make a CA with `headframe certs`"
    )]
    CaName,
    /// The certificate is not valid now.
    #[error("expected a certificate that is valid today: {0}; make a new one with `headframe certs`, or set the clock")]
    Validity(CertificateError),
    /// Anything else that rustls refuses.
    #[error("expected a certificate for a node of this cluster: {0}; make a new one with `headframe certs`")]
    Refused(#[from] rustls::Error),
}

/// A cluster's certificate authority, its private key included.
pub struct ClusterCa {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What a node shows and proves to its peers: key, certificate, and the CA that it trusts.
pub struct Identity {
    node: NodeId,
    ca: CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// A node's key and certificate as texts for files.
pub(super) struct IssuedPem {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl ClusterCa {
    /// A new cluster's CA, whose certificate is valid for ten years from `now`.
    ///
    /// # Errors
    /// The key or the certificate cannot be made.
    pub fn generate(now: SystemTime) -> Result<Self, IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // Two clusters' CAs differ in name, so that a mix-up is recognised.
        let id = ::ring::digest::digest(&::ring::digest::SHA256, key.public_key_raw());
        params.distinguished_name = Default::default();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("headframe cluster {}", hex::encode(&id.as_ref()[..8])));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        set_validity(&mut params, now, CA_VALIDITY)?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            issuer: Issuer::new(params, key),
        })
    }

    /// The CA with this certificate and key, both as PEM.
    ///
    /// # Errors
    /// Either cannot be read, they do not belong together, or the certificate is not a CA's.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let certificate_pem = certificate.to_owned();
        let certificate = read_certificate(certificate_pem.as_bytes())?;
        for (begin, form) in [("BEGIN RSA ", "PKCS#1"), ("BEGIN EC ", "SEC1"), ("BEGIN ENCRYPTED ", "an encrypted key")]
        {
            if key.contains(begin) {
                return Err(IdentityError::KeyForm(form));
            }
        }
        let key = KeyPair::from_pem(key)?;
        let whole = CertifiedKey::from_der(
            vec![certificate.clone()],
            PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| IdentityError::OtherKey)?,
            &ring::default_provider(),
        );
        whole.map_err(explain)?;
        // rcgen signs with any certificate; peers would refuse the result.
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|_| IdentityError::NotCa)?;
        if !parsed.is_ca() {
            return Err(IdentityError::NotCa);
        }
        if !can_be_copied(parsed.subject()) {
            return Err(IdentityError::CaName);
        }
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificate, key)?, certificate, certificate_pem })
    }

    /// A new key and certificate for `node`, valid for two years from `now`.
    ///
    /// # Errors
    /// They cannot be made, or peers would refuse them.
    pub fn issue(&self, node: NodeId, now: SystemTime) -> Result<Identity, IdentityError> {
        let (certificate, key) = self.sign(node, now)?;
        Identity::new(node, self.certificate.clone(), certificate.into(), key.into(), now)
    }

    /// The same as [`issue`](Self::issue), as texts.
    pub(super) fn issue_pem(&self, node: NodeId, now: SystemTime) -> Result<IssuedPem, IdentityError> {
        let (certificate, key) = self.sign(node, now)?;
        Ok(IssuedPem { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The CA's certificate: public.
    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key: the cluster's secret.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    fn sign(&self, node: NodeId, now: SystemTime) -> Result<(rcgen::Certificate, KeyPair), IdentityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([node_name(node)])?;
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, format!("headframe node {node}"));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params, now, NODE_VALIDITY)?;
        Ok((params.signed_by(&key, &self.issuer)?, key))
    }
}

impl fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterCa").finish_non_exhaustive()
    }
}

impl Identity {
    /// Checks what peers will check, at the time `now`.
    fn new(
        node: NodeId,
        ca: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let got = node_of(&certificate)?;
        if got != node {
            return Err(IdentityError::OtherNode { expected: node, got });
        }
        let identity = Self { node, ca, certificate, key };
        identity.verify(UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default()))?;
        Ok(identity)
    }

    /// The identity in three PEM texts: the cluster's CA certificate, the node's certificate, and its key.
    ///
    /// # Errors
    /// A text cannot be read, or peers would refuse the identity of `node` at the time `now`.
    pub fn from_pem(
        node: NodeId,
        ca: &str,
        certificate: &str,
        key: &str,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|cause| IdentityError::Pem { expected: "a private key", cause })?;
        Self::new(node, read_certificate(ca.as_bytes())?, read_certificate(certificate.as_bytes())?, key, now)
    }

    /// When the node's certificate or the CA's ends, whichever is first, since 1970.
    pub fn ends(&self) -> Duration {
        let end = |certificate: &CertificateDer| {
            let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
            u64::try_from(parsed.validity().not_after.timestamp()).ok()
        };
        let ends = [&self.certificate, &self.ca].map(|certificate| end(certificate).unwrap_or(0));
        Duration::from_secs(ends[0].min(ends[1]))
    }

    /// The node that this identity belongs to.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The certificates that it shows to peers.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The node's private key: a secret.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }

    /// The only CA that is trusted.
    pub(super) fn roots(&self) -> Result<Arc<RootCertStore>, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        Ok(Arc::new(roots))
    }

    fn verify(&self, now: UnixTime) -> Result<(), IdentityError> {
        let provider = provider();
        CertifiedKey::from_der(self.chain(), self.key(), &provider).map_err(explain)?;
        let roots = self.roots()?;
        let builder = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone());
        let as_server = builder.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        as_server.verify_server_cert(&self.certificate, &[], &server_name(self.node)?, &[], now).map_err(explain)?;
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let as_client = builder.build().map_err(|error| rustls::Error::General(error.to_string()))?;
        as_client.verify_client_cert(&self.certificate, &[], now).map_err(explain)?;
        Ok(())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The crypto provider. It is handed over at every use, since a process-wide default depends on what else runs in the process.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The name in a node's certificate.
pub(super) fn node_name(node: NodeId) -> String {
    format!("node-{node}.headframe")
}

/// The same name, as rustls checks it.
fn server_name(node: NodeId) -> Result<ServerName<'static>, IdentityError> {
    let name = node_name(node);
    ServerName::try_from(name.clone()).map_err(|_| IdentityError::Name(name))
}

/// The node that a certificate names. Says nothing about who signed it.
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| IdentityError::Name(format!("no certificate ({error})")))?;
    let names = match parsed.subject_alternative_name() {
        Ok(Some(extension)) => &extension.value.general_names[..],
        Ok(None) => &[],
        Err(error) => return Err(IdentityError::Name(format!("names that cannot be read ({error})"))),
    };
    let [GeneralName::DNSName(name)] = names else {
        return Err(IdentityError::Name(format!("{} names", names.len())));
    };
    let id = name.strip_prefix("node-").and_then(|rest| rest.strip_suffix(".headframe"));
    id.and_then(|id| id.parse().ok()).ok_or_else(|| IdentityError::Name(format!("{:.80?}", name)))
}

fn read_certificate(pem: &[u8]) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem).map_err(|cause| IdentityError::Pem { expected: "a certificate", cause })
}

/// Whether rcgen can write this name as an issuer's: it panics at empty sets of attributes, and at types that are no object identifiers
/// (X.660: the first arc is 0 to 2, and below 0 and 1 the second is less than 40).
fn can_be_copied(name: &X509Name) -> bool {
    let is_type = |attribute: &AttributeTypeAndValue| {
        let Some(mut arcs) = attribute.attr_type().iter() else { return false };
        matches!((arcs.next(), arcs.next()), (Some(0 | 1), Some(..40)) | (Some(2), Some(_)))
    };
    name.iter().all(|set| set.iter().next().is_some() && set.iter().all(is_type))
}

fn set_validity(params: &mut CertificateParams, now: SystemTime, validity: Duration) -> Result<(), IdentityError> {
    let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if since_1970 < START_OF_2024 {
        return Err(IdentityError::Clock(since_1970.as_secs()));
    }
    let now = date_time_ymd(1970, 1, 1) + since_1970;
    // One day's grace is for machines whose clocks are behind.
    params.not_before = now - DAY;
    params.not_after = now + validity;
    Ok(())
}

fn explain(error: rustls::Error) -> IdentityError {
    use CertificateError as Cause;
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::OtherKey,
        rustls::Error::InvalidCertificate(Cause::UnknownIssuer | Cause::BadSignature) => IdentityError::OtherCluster,
        rustls::Error::InvalidCertificate(
            cause @ (Cause::Expired
            | Cause::ExpiredContext { .. }
            | Cause::NotValidYet
            | Cause::NotValidYetContext { .. }),
        ) => IdentityError::Validity(cause),
        other => IdentityError::Refused(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::node as id;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn a_certificate_names_its_node() {
        let ca = ClusterCa::generate(now()).unwrap();
        for node in [id(1), id(7), id(u32::MAX)] {
            let identity = ca.issue(node, now()).unwrap();
            assert_eq!(node_of(&identity.certificate).unwrap(), node);
        }
    }

    #[test]
    fn other_names_name_no_node() {
        let key = KeyPair::generate().unwrap();
        let certificate = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            CertificateParams::new(names).unwrap().self_signed(&key).unwrap().into()
        };
        assert_eq!(node_of(&certificate(&["node-7.headframe"])).unwrap(), id(7));
        let refused: [&[&str]; 9] = [
            &[],
            &["node-7.headframe", "node-8.headframe"],
            &["node-7.headframe", "node-7.headframe"],
            &["node-0.headframe"],
            &["node-07.headframe"],
            &["node-7.headframe.example"],
            &["xnode-7.headframe"],
            &["Node-7.headframe"],
            &["127.0.0.7"],
        ];
        for names in refused {
            assert!(matches!(node_of(&certificate(names)), Err(IdentityError::Name(_))), "{names:?}");
        }
        assert!(node_of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }

    #[test]
    fn certificates_are_valid_for_two_years_and_authorities_for_ten() {
        let ca = ClusterCa::generate(now()).unwrap();
        let pem = ca.issue_pem(id(1), now()).unwrap();
        let load = |at| Identity::from_pem(id(1), ca.certificate_pem(), &pem.certificate, &pem.key, at);
        assert!(load(now() - DAY / 2).is_ok() && load(now() + 729 * DAY).is_ok());
        assert!(matches!(load(now() - 2 * DAY), Err(IdentityError::Validity(_))));
        assert!(matches!(load(now() + 731 * DAY), Err(IdentityError::Validity(_))));
        let (_, parsed) = X509Certificate::from_der(&ca.certificate).unwrap();
        let seconds = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
        assert_eq!(seconds, 3651 * 24 * 60 * 60);
    }

    #[test]
    fn what_does_not_belong_together_is_refused() {
        let (ca, other) = (ClusterCa::generate(now()).unwrap(), ClusterCa::generate(now()).unwrap());
        let (one, two) = (ca.issue_pem(id(1), now()).unwrap(), ca.issue_pem(id(2), now()).unwrap());
        let load = |node, ca: &ClusterCa, certificate: &str, key: &str| {
            Identity::from_pem(id(node), ca.certificate_pem(), certificate, key, now())
        };
        assert!(load(1, &ca, &one.certificate, &one.key).is_ok());
        assert!(matches!(load(1, &other, &one.certificate, &one.key), Err(IdentityError::OtherCluster)));
        assert!(matches!(load(1, &ca, &one.certificate, &two.key), Err(IdentityError::OtherKey)));
        assert!(matches!(load(2, &ca, &one.certificate, &one.key), Err(IdentityError::OtherNode { .. })));
        assert!(matches!(load(1, &ca, &one.key, &one.key), Err(IdentityError::Pem { .. })));
        assert!(matches!(load(1, &ca, &one.certificate, "nothing"), Err(IdentityError::Pem { .. })));
        let mixed = ClusterCa::from_pem(ca.certificate_pem(), &other.key_pem());
        assert!(matches!(mixed, Err(IdentityError::OtherKey)));
    }

    #[test]
    fn a_node_certificate_cannot_make_nodes() {
        let ca = ClusterCa::generate(now()).unwrap();
        let node = ca.issue_pem(id(1), now()).unwrap();
        assert!(matches!(ClusterCa::from_pem(&node.certificate, &node.key), Err(IdentityError::NotCa)));
        let issuer = Issuer::from_ca_cert_pem(&node.certificate, KeyPair::from_pem(&node.key).unwrap()).unwrap();
        let forger = ClusterCa { certificate: ca.certificate.clone(), certificate_pem: String::new(), issuer };
        assert!(matches!(forger.issue(id(2), now()), Err(IdentityError::OtherCluster)));
    }

    /// Found by the fuzz target `certificates`: rcgen reads such a name, and panics when it writes it.
    #[test]
    fn a_ca_whose_name_cannot_be_copied_is_refused() {
        let key = KeyPair::generate().unwrap();
        let ca = |arcs: &[u64]| {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.distinguished_name.push(DnType::CustomDnType(arcs.to_vec()), "any");
            ClusterCa::from_pem(&params.self_signed(&key).unwrap().pem(), &key.serialize_pem())
        };
        assert!(ca(&[2, 5, 4, 10]).unwrap().issue(id(1), now()).is_ok());
        // Its first byte is 80 more than the second arc, and is read as that of the arcs 6 and 14.
        assert!(matches!(ca(&[2, 174, 1]), Err(IdentityError::CaName)));
    }

    #[test]
    fn debug_output_keeps_secrets() {
        let ca = ClusterCa::generate(now()).unwrap();
        assert_eq!(format!("{ca:?}"), "ClusterCa { .. }");
        assert_eq!(format!("{:?}", ca.issue(id(3), now()).unwrap()), "Identity { node: n3, .. }");
    }
}
