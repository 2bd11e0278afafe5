//! Pools behind TLS, with certificates of every kind.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::work::reference;

/// A CA's PEM, and what a server of it shows.
struct Certified {
    ca: String,
    chain: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Certified {
    fn new(name: &str, is_expired: bool) -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let chain = params.signed_by(&key, &issuer).unwrap().der().clone();
        Self { ca, chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn fingerprint(&self) -> String {
        reference::sha256(&self.chain).to_string()
    }

    /// Opens a session with a pool that shows this, and gives what came of it.
    async fn open(&self, tls: Tls, version: &'static rustls::SupportedProtocolVersion) -> Result<(), String> {
        let (listener, port) = listen().await;
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.chain.clone()], self.key.clone_key())
            .unwrap();
        let pool = tokio::spawn(async move {
            let stream = listener.accept().await.unwrap().0;
            let stream = TlsAcceptor::from(Arc::new(server)).accept(stream).await.ok()?;
            let mut pool = Script::new(stream);
            pool.greet().await;
            pool.work().await;
            Some(pool)
        });
        let address = StratumAddress::parse(&format!("stratum+ssl://{USER}@127.0.0.1:{port}")).unwrap();
        let address = address.with_password(PASSWORD.into()).unwrap();
        let source = StratumSource::new(address, tls, RATE).unwrap();
        let mut session = source.open().await.map_err(|error| {
            assert!(error.is_over && !format!("{error:?}").contains("secret"), "{error:?}");
            error.problem
        })?;
        assert!(pool.await.unwrap().is_some());
        next(&mut session).await;
        Ok(())
    }
}

#[tokio::test]
async fn a_pool_proves_itself_by_an_authority_or_by_its_fingerprint() {
    let (tls13, tls12) = (&rustls::version::TLS13, &rustls::version::TLS12);
    let good = Certified::new("127.0.0.1", false);
    for version in [tls12, tls13] {
        good.open(Tls::authorities(&good.ca).unwrap(), version).await.unwrap();
        good.open(Tls::fingerprint(&good.fingerprint()).unwrap(), version).await.unwrap();
    }
    let other = Certified::new("127.0.0.1", false);
    let expired = Certified::new("127.0.0.1", true);
    let elsewhere = Certified::new("pool.example", false);
    for (shown, tls, problem) in [
        (&good, Tls::authorities(&other.ca).unwrap(), "invalid peer certificate"),
        (&good, Tls::fingerprint(&other.fingerprint()).unwrap(), &*format!("got {}", good.fingerprint())),
        (&good, Tls::System, "UnknownIssuer"),
        (&expired, Tls::authorities(&expired.ca).unwrap(), "expired"),
        (&elsewhere, Tls::authorities(&elsewhere.ca).unwrap(), "not valid for name"),
    ] {
        let error = shown.open(tls.clone(), tls13).await.unwrap_err();
        assert!(error.contains(problem) || error.contains("system's root certificates"), "{error}");
    }
    // A pinned certificate is good whatever else it says.
    expired.open(Tls::fingerprint(&expired.fingerprint()).unwrap(), tls13).await.unwrap();
    elsewhere.open(Tls::fingerprint(&elsewhere.fingerprint()).unwrap(), tls12).await.unwrap();
}

#[tokio::test]
async fn a_pool_without_tls_is_none_behind_tls() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let mut pool = Script::new(listener.accept().await.unwrap().0);
        pool.raw("{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[1]}").await;
        pool.line().await
    });
    let address = StratumAddress::parse(&format!("stratum+ssl://{USER}@127.0.0.1:{port}")).unwrap();
    let source = StratumSource::new(address, Tls::Fingerprint(Default::default()), RATE).unwrap();
    let error = source.open().await.map(drop).unwrap_err();
    assert!(error.problem.contains("expected a TLS connection"), "{error}");
}
