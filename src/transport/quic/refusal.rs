//! The codes with which connections are closed, and the refusals behind them.

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::transport::refusal::{By, Refusal};

/// The code with which a node that stops, or drops a peer, closes connections.
pub(super) const LEAVING: VarInt = VarInt::from_u32(0);
/// The code for a node that is not in the list of servers.
pub(super) const UNKNOWN_NODE: VarInt = VarInt::from_u32(1);
/// The code for a connection that a newer one of the same node replaces.
pub(super) const REPLACED: VarInt = VarInt::from_u32(2);
/// The code for a connection on which nothing was sent for a while.
pub(super) const UNUSED: VarInt = VarInt::from_u32(3);

/// The refusal behind the end of a connection that this node opened, if it is one.
pub(super) fn refusal(error: &ConnectionError) -> Option<Refusal> {
    let (alert, by, cause) = match error {
        ConnectionError::TransportError(error) => (alert(error.code)?, By::Us, error.to_string()),
        ConnectionError::ConnectionClosed(close) => (alert(close.error_code)?, By::Them, close.to_string()),
        ConnectionError::ApplicationClosed(close) if close.error_code == UNKNOWN_NODE => {
            return Some(Refusal::UnknownNode);
        }
        _ => return None,
    };
    Some(Refusal::handshake(alert, by, cause))
}

/// The TLS alert in a QUIC error code: 0x100 to 0x1ff (RFC 9001, section 4.8).
fn alert(code: TransportErrorCode) -> Option<u8> {
    u64::from(code).checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::refusal::{BAD_CERTIFICATE, NO_APPLICATION_PROTOCOL, UNKNOWN_CA};
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
