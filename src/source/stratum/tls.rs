//! Whom a pool behind `stratum+ssl://` has to prove to be: a server that the system's roots vouch for, or one authority (`--tls-ca FILE`), or
//! the holder of one certificate (`--tls-fingerprint HEX`, as xmrig pins it).

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::source::http::system_roots;
use crate::work::{Digest, reference};

/// Which certificates of a pool are good.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Tls {
    /// The system's root certificates decide.
    #[default]
    System,
    /// These authorities decide, and no others.
    Authorities(Vec<CertificateDer<'static>>),
    /// The certificate with this SHA-256 digest of its DER is good, whoever signed it, and whatever names and dates it has.
    Fingerprint(Digest),
}

/// Why a text does not say which certificates are good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file of authorities cannot be used.
    #[error("expected a PEM file with certificates of authorities for --tls-ca, got {0}")]
    Authorities(String),
    /// The fingerprint has another form.
    #[error(
        "expected the SHA-256 fingerprint of a certificate as 64 hex digits, with or without colons, got {0} digits"
    )]
    Fingerprint(usize),
}

impl Tls {
    /// The authorities in the text of a PEM file (`--tls-ca`).
    ///
    /// # Errors
    /// There is no certificate in the text, or one that cannot be an authority's.
    pub fn authorities(pem: &str) -> Result<Self, TlsError> {
        let refused = |problem: String| TlsError::Authorities(problem);
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| refused(error.to_string()))?;
        if certificates.is_empty() {
            return Err(refused("none".into()));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|error| refused(error.to_string()))?;
        }
        Ok(Self::Authorities(certificates))
    }

    /// The certificate with this fingerprint (`--tls-fingerprint`): the SHA-256 digest of its DER as 64 hex digits, as
    /// `openssl x509 -noout -fingerprint -sha256` shows it.
    ///
    /// # Errors
    /// The text has another form.
    pub fn fingerprint(text: &str) -> Result<Self, TlsError> {
        let digits: String = text.chars().filter(|&c| c != ':').collect();
        let mut digest = Digest::default();
        hex::decode_to_slice(&digits, &mut digest.0).map_err(|_| TlsError::Fingerprint(digits.chars().count()))?;
        Ok(Self::Fingerprint(digest))
    }

    /// The settings of a connection. Reading the system's roots takes some milliseconds and blocks.
    pub(super) fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("the TLS library cannot be set up: {error}"))?;
        let roots = match self {
            Self::System => {
                system_roots().map_err(|problem| format!("{problem}, or name the pool's authority by --tls-ca"))?
            }
            Self::Authorities(certificates) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates.iter().cloned());
                roots
            }
            &Self::Fingerprint(pinned) => {
                let verifier = Arc::new(Pinned { pinned, provider });
                return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
            }
        };
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Takes one certificate and no other. That the server has its key is proved by the handshake's signature as ever.
#[derive(Debug)]
struct Pinned {
    pinned: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (pinned, got) = (self.pinned, reference::sha256(certificate));
        match got == pinned {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(format!("expected the certificate with the fingerprint {pinned}, got {got}"))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_64_digits_with_or_without_colons() {
        let plain = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(Tls::fingerprint(&plain), Ok(Tls::Fingerprint(Digest([0xab; 32]))));
        assert_eq!(Tls::fingerprint(&colons), Tls::fingerprint(&plain));
        for (other, digits) in [("", 0), (&plain[1..], 63), (&"ab".repeat(33), 66), (&"äb".repeat(32), 64)] {
            assert_eq!(Tls::fingerprint(other), Err(TlsError::Fingerprint(digits)));
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = Tls::authorities(text).unwrap_err().to_string();
            assert!(error.contains("--tls-ca"), "{error}");
        }
    }
}
