//! What clients in any language say.

use prost::Message as _;

use super::{convert, wire};

/// A message: what was understood can be said, and is understood the same again.
pub(crate) fn calls(bytes: &[u8]) -> bool {
    let Ok(Ok(Some((message, _)))) = wire::Message::decode(bytes).map(convert::from_wire) else { return false };
    let said = convert::to_wire(message.clone()).encode_to_vec();
    let (again, _) = convert::from_wire(wire::Message::decode(&said[..]).unwrap()).unwrap().unwrap();
    assert_eq!(again, message);
    true
}
