//! Why one node refuses another, in words that say what to do.

use quinn::{ConnectionError, TransportErrorCode, VarInt};

/// The code with which a node that stops, or drops a peer, closes connections.
pub(super) const LEAVING: VarInt = VarInt::from_u32(0);
/// The code for a node that is not in the list of servers.
pub(super) const UNKNOWN_NODE: VarInt = VarInt::from_u32(1);
/// The code for a connection that a newer one of the same node replaces.
pub(super) const REPLACED: VarInt = VarInt::from_u32(2);
/// The code for a connection on which nothing was sent for a while.
pub(super) const UNUSED: VarInt = VarInt::from_u32(3);

/// A peer that is up and refuses this node, or that this node refuses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The two nodes' certificates or versions do not go together: an operator has to put that right.
    Handshake {
        /// What is wrong. The text stays the same while the same thing is wrong.
        text: &'static str,
        /// What TLS reports, with details such as times.
        cause: String,
    },
    /// The peer does not list this node among its servers, or not yet: while a cluster starts, this passes by itself.
    UnknownNode,
}

/// The refusal behind the end of a connection that this node opened, if it is one.
pub(super) fn refusal(error: &ConnectionError) -> Option<Refusal> {
    let (alert, words, cause) = match error {
        ConnectionError::TransportError(error) => (alert(error.code)?, OURS, error.to_string()),
        ConnectionError::ConnectionClosed(close) => (alert(close.error_code)?, THEIRS, close.to_string()),
        ConnectionError::ApplicationClosed(close) if close.error_code == UNKNOWN_NODE => {
            return Some(Refusal::UnknownNode);
        }
        _ => return None,
    };
    let text = match alert {
        UNKNOWN_CA | DECRYPT_ERROR => words.cluster,
        BAD_CERTIFICATE => words.name,
        CERTIFICATE_EXPIRED => words.validity,
        NO_APPLICATION_PROTOCOL => VERSION,
        _ => words.other,
    };
    Some(Refusal::Handshake { text, cause })
}

/// TLS alerts, RFC 8446 section 6; the last one is RFC 7301's.
const BAD_CERTIFICATE: u8 = 42;
const CERTIFICATE_EXPIRED: u8 = 45;
const UNKNOWN_CA: u8 = 48;
const DECRYPT_ERROR: u8 = 51;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// The text for versions that differ, whichever side notices it.
const VERSION: &str = "runs another version of Headframe, whose messages differ (run the same version on all nodes)";

struct Words {
    cluster: &'static str,
    name: &'static str,
    validity: &'static str,
    other: &'static str,
}

const OURS: Words = Words {
    cluster: "has a certificate of another cluster (all nodes need files of one `headframe certs` directory)",
    name: "has another node's certificate (its address or its id is wrong)",
    validity: "has a certificate that is not valid today (make a new one, or set a clock)",
    other: "does not offer this cluster's TLS",
};

const THEIRS: Words = Words {
    cluster: "takes this node for one of another cluster (all nodes need files of one `headframe certs` directory)",
    name: "does not accept this node's certificate",
    validity: "finds this node's certificate not valid today (make a new one, or set a clock)",
    other: "does not accept this node's TLS",
};

/// The TLS alert in a QUIC error code: 0x100 to 0x1ff (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ApplicationClose, ConnectionClose};

    fn text(error: ConnectionError) -> &'static str {
        match refusal(&error) {
            Some(Refusal::Handshake { text, .. }) => text,
            other => panic!("expected a refusal by the handshake, got {other:?}"),
        }
    }

    #[test]
    fn each_side_hears_whose_certificate_is_wrong() {
        let code = TransportErrorCode::crypto(UNKNOWN_CA);
        assert!(text(ConnectionError::TransportError(code.into())).starts_with("has a certificate of another cluster"));
        let close = ConnectionClose { error_code: code, frame_type: None, reason: Default::default() };
        assert!(
            text(ConnectionError::ConnectionClosed(close)).starts_with("takes this node for one of another cluster")
        );
        let code = TransportErrorCode::crypto(BAD_CERTIFICATE);
        assert!(text(ConnectionError::TransportError(code.into())).starts_with("has another node's certificate"));
    }

    #[test]
    fn both_sides_are_told_that_their_versions_differ() {
        let code = TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL);
        let close = ConnectionClose { error_code: code, frame_type: None, reason: Default::default() };
        for error in [ConnectionError::TransportError(code.into()), ConnectionError::ConnectionClosed(close)] {
            assert!(text(error).starts_with("runs another version of Headframe"));
        }
    }

    #[test]
    fn other_ends_are_no_refusals() {
        assert_eq!(refusal(&ConnectionError::TimedOut), None);
        assert_eq!(refusal(&ConnectionError::TransportError(TransportErrorCode::INTERNAL_ERROR.into())), None);
        let close = |error_code| {
            ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason: Default::default() })
        };
        assert_eq!(refusal(&close(UNKNOWN_NODE)), Some(Refusal::UnknownNode));
        assert_eq!([refusal(&close(LEAVING)), refusal(&close(REPLACED))], [None, None]);
    }
}
