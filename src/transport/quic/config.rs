//! QUIC settings over the cluster's TLS: limits for a few peers that exchange small frames.
//!
//! quinn's own numbers are for servers on the internet that move files; they allow hundreds of megabytes to be held for a
//! connection. Each number here says what it is for.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, ServerConfig};
use quinn::{TransportConfig, ValidationTokenConfig, VarInt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::transport::bounds::idle_timeout;
use crate::transport::identity::Identity;
use crate::transport::tls;

/// The protocol's name and version. Both sides must name the same one, else TLS refuses the connection: a node whose messages differ is
/// refused at the handshake, and no other program is taken for a node. The number is the oldest frame version that is understood.
const ALPN: &[u8] = b"headframe/4";

/// Requests under way on one connection: four heartbeats and four reports may be kept open for their answers, and as many are on their way.
pub(super) const REQUEST_STREAMS: u32 = 16;
/// One-way messages under way on one connection. They are read at once, so a few suffice.
const ONE_WAY_STREAMS: u32 = 4;
/// Nearly one frame of the largest size: a stream carries no more than one.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Eight such frames: the most that a peer can make this node hold for one connection, and that it holds for a slow peer.
const CONNECTION_WINDOW: u32 = 512 * 1024;

/// Handshakes that wait for the accept loop. It takes them at once, so this bounds floods.
const MAX_INCOMING: usize = 256;
/// What an unverified client may send ahead: its certificate and a little more.
const INCOMING_BUFFER: u64 = 16 * 1024;
/// The same for all unverified clients together.
const INCOMING_BUFFER_TOTAL: u64 = 1024 * 1024;

/// The first guess of a round trip, which sets the pace of handshake retries until there is a measurement: short, so that
/// a peer that has just come up is met within a second.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(50);

/// Settings of the socket that all connections share.
pub(super) fn endpoint(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(reset_key(identity)));
    config.cid_generator(|| Box::new(RandomIds(SystemRandom::new())));
    config
}

/// Settings of connections that peers open.
pub(super) fn server(identity: &Identity, heartbeat: Duration) -> Result<ServerConfig, rustls::Error> {
    let tls = tls::server(identity, ALPN)?;
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).map_err(no_initial_suite)?));
    config
        .transport_config(Arc::new(transport(heartbeat)))
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER_TOTAL)
        .validation_token_config(tokens);
    Ok(config)
}

/// Settings of connections that this node opens.
pub(super) fn client(identity: &Identity, heartbeat: Duration) -> Result<ClientConfig, rustls::Error> {
    let tls = tls::client(identity, ALPN)?;
    let mut transport = transport(heartbeat);
    // One side's pings suffice. Two fit into the idle time, so that one may be lost.
    transport.keep_alive_interval(Some(idle_timeout(heartbeat) / 3));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).map_err(no_initial_suite)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn transport(heartbeat: Duration) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(REQUEST_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAY_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(u64::from(CONNECTION_WINDOW))
        // Milliseconds from 3,000 to 15,000 always fit.
        .max_idle_timeout(IdleTimeout::try_from(idle_timeout(heartbeat)).ok())
        .initial_rtt(FIRST_ROUND_TRIP)
        .datagram_receive_buffer_size(None)
        // Most frames fit one packet. Where the system can take ten in one call, quinn would keep room for ten, 14 KiB a connection.
        .enable_segmentation_offload(false)
        .allow_spin(false);
    config
}

/// The key behind stateless resets, the same whenever this node runs: a restarted node then ends its peers' connections
/// to its former self at once, where they would otherwise wait for the idle time-out.
fn reset_key(identity: &Identity) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, identity.key().secret_der());
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"headframe stateless reset").as_ref())
}

/// Connection ids of 8 random bytes. quinn's own carry a check that only the process which made them passes, and a packet
/// that fails it is not answered with a reset; a restarted node must answer.
struct RandomIds(SystemRandom);

impl RandomIds {
    const LENGTH: usize = 8;
}

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; Self::LENGTH];
        self.0.fill(&mut id).expect("the system's random numbers do not run out");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        Self::LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn no_initial_suite(error: NoInitialCipherSuite) -> rustls::Error {
    rustls::Error::General(error.to_string())
}
