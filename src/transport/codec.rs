//! The wire's frames: how a [`Message`] becomes bytes and comes back.
//!
//! ```text
//! length (u32, big-endian: of all that follows, at most 65,536)  version (u8)  kind (u8)  body
//! ```
//!
//! 1. The kind says which message it is. Its numbers are fixed in one table below, and no number is ever reused for another kind.
//! 2. The body is the message's content in bincode's standard configuration, read with a limit and to its last byte.
//! 3. A kind that is unknown is an error in our own version, and passed over in a newer one: old nodes stay in a cluster while it is being
//!    updated. Frames of older versions are refused.
//! 4. A message's lists are bounded by the frame's length. The cluster's rules check whether they are as short as the rules ask.
//!
//! This is the only file that knows bincode, so that it can be replaced.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::error::{DecodeError, EncodeError};
use serde::de::DeserializeOwned;

use crate::cluster::Message;

/// The version of the frames that this build writes.
pub const VERSION: u8 = 4;

/// The most that may follow a frame's length: version, kind and body together.
///
/// The fullest reports take nearly all of it, the fullest assignments half; most messages fit one packet.
pub const MAX_CONTENT: usize = 64 * 1024;

/// The longest frame, its length field included.
pub const MAX_FRAME: usize = LENGTH + MAX_CONTENT;

const LENGTH: usize = size_of::<u32>();

/// Why a message cannot be framed, or bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The message is larger than a frame may be.
    #[error("expected a message of at most {MAX_CONTENT} bytes, got {0}: shorten its lists")]
    TooLarge(usize),
    /// The message cannot be written in this encoding at all.
    #[error("expected a message that can be encoded: {0}")]
    Encode(#[from] EncodeError),
    /// The frame is shorter or longer than it says, or longer than any may be.
    #[error(
        "expected a frame as long as its length field says, at most {MAX_CONTENT} bytes after it: {got} bytes do not fit"
    )]
    Length {
        /// How many bytes came, the length field included.
        got: usize,
    },
    /// The frame is of an older version, whose messages differ.
    #[error("expected frame version {VERSION} or newer, got {0}: run the same version of Headframe on all nodes")]
    Version(u8),
    /// Our own version has no such kind.
    #[error("expected a known kind of message, got kind {0}")]
    Kind(u8),
    /// The body is not what its kind asks for.
    #[error("expected the body of a message of kind {kind}: {cause}")]
    Body {
        /// The frame's kind.
        kind: u8,
        /// What bincode says.
        cause: DecodeError,
    },
    /// Bytes are left over after the body.
    #[error("expected the body of a message of kind {kind} to end after {used} bytes, got {got}")]
    Rest {
        /// The frame's kind.
        kind: u8,
        /// How many bytes make a whole body.
        used: usize,
        /// How many there are.
        got: usize,
    },
}

/// The table of kinds: from a message to its number and body, and back.
macro_rules! kinds {
    ($($number:literal => $variant:ident($($field:ident),+);)+) => {
        fn write_kind_and_body(message: &Message, frame: &mut Vec<u8>) -> Result<(), EncodeError> {
            match message {
                $(Message::$variant($($field),+) => {
                    frame.push($number);
                    bincode::serde::encode_into_std_write(($($field,)+), frame, CONFIG)?;
                })+
            }
            Ok(())
        }

        fn from_kind_and_body(kind: u8, body: &[u8]) -> Result<Option<Message>, CodecError> {
            match kind {
                $($number => {
                    let ($($field,)+) = read(kind, body)?;
                    Ok(Some(Message::$variant($($field),+)))
                })+
                _ => Ok(None),
            }
        }
    };
}

kinds! {
    1 => HeartbeatRequest(heartbeat);
    2 => HeartbeatReply(heartbeat, report);
    3 => ProcessRequest(report);
    4 => Process(assign);
    5 => ProcessAnswerNo(report);
    6 => ProcessAnswerYes(report);
    7 => ProcessInterrupt(assign);
    8 => Leave(heartbeat, report);
    9 => BodyRequest(request);
    10 => Body(part);
}

/// The frame that carries `message`, its length field included.
///
/// # Errors
/// The message is too large for a frame, or cannot be encoded.
pub fn encode(message: &Message) -> Result<Vec<u8>, CodecError> {
    let mut frame = vec![0; LENGTH];
    frame.push(VERSION);
    write_kind_and_body(message, &mut frame)?;
    let content = frame.len() - LENGTH;
    let length = u32::try_from(content).ok().filter(|_| content <= MAX_CONTENT);
    let length = length.ok_or(CodecError::TooLarge(content))?;
    frame[..LENGTH].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// The message in a whole frame, its length field included; `None` when a newer version sent a kind unknown to this one.
///
/// # Errors
/// The bytes are not one whole frame, or its version, kind or body is refused.
pub fn decode(frame: &[u8]) -> Result<Option<Message>, CodecError> {
    let wrong_length = CodecError::Length { got: frame.len() };
    let Some((length, content)) = frame.split_first_chunk() else { return Err(wrong_length) };
    if content.len() > MAX_CONTENT || u32::from_be_bytes(*length) as usize != content.len() {
        return Err(wrong_length);
    }
    let Some((&[version, kind], body)) = content.split_first_chunk() else { return Err(wrong_length) };
    if version < VERSION {
        return Err(CodecError::Version(version));
    }
    match from_kind_and_body(kind, body)? {
        None if version == VERSION => Err(CodecError::Kind(kind)),
        message => Ok(message),
    }
}

/// The limit bounds the size of the values that are read, as they stand in memory. A list that claims more elements than the body holds
/// costs at most the 1 MiB that serde reserves before it reads them, and a list within a list as much again.
const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_CONTENT>> =
    bincode::config::standard().with_limit::<MAX_CONTENT>();

fn read<T: DeserializeOwned>(kind: u8, body: &[u8]) -> Result<T, CodecError> {
    let decoded = bincode::serde::decode_from_slice(body, CONFIG);
    let (content, used) = decoded.map_err(|cause| CodecError::Body { kind, cause })?;
    if used != body.len() {
        return Err(CodecError::Rest { kind, used, got: body.len() });
    }
    Ok(content)
}

#[cfg(test)]
mod tests;
