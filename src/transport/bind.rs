//! Why a node cannot begin to listen.

use std::io;
use std::net::SocketAddr;

/// Why a node cannot be reached over the network.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process, or another node of this one, listens there.
    #[error(
        "expected {0} to be free, but something listens there already: stop it, or choose another with --listen, for udp with --udp-port"
    )]
    AddressInUse(SocketAddr),
    /// The address cannot be listened to.
    #[error("expected to listen on {address}: {cause}; choose an address of this machine with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    #[cfg(feature = "identity")]
    /// The certificates do not make a TLS configuration.
    #[error("expected certificates that can be used for TLS: {0}; make new ones with `headframe certs`")]
    Tls(#[from] rustls::Error),
    /// The call was made outside of a tokio runtime.
    #[error("expected to be called in a tokio runtime: {0}")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

impl BindError {
    /// The error for `address` that the system gives.
    pub(super) fn of(address: SocketAddr, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(address),
            _ => Self::Listen { address, cause },
        }
    }
}
