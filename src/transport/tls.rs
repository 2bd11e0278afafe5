//! TLS between the nodes of one cluster: mutual, 1.3 only, and verified anew for every connection.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, Error, ServerConfig};

use super::identity::{Identity, provider};

/// Settings for connections that peers open with this application protocol.
pub(super) fn server(identity: &Identity, protocol: &[u8]) -> Result<ServerConfig, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots()?, provider()).build();
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier.map_err(|error| Error::General(error.to_string()))?)
        .with_single_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![protocol.to_vec()];
    // There is neither resumption nor data ahead of the handshake.
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// Settings for connections that this node opens with this application protocol.
pub(super) fn client(identity: &Identity, protocol: &[u8]) -> Result<ClientConfig, Error> {
    let mut tls = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(identity.roots()?)
        .with_client_auth_cert(identity.chain(), identity.key())?;
    tls.alpn_protocols = vec![protocol.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    Ok(tls)
}
