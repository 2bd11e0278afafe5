//! Makes an input of those in a corpus, by a seed.

use fastrand::Rng;

/// No input is longer.
const LONGEST: usize = 1 << 16;

/// Numbers near which arithmetic goes wrong.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX - 1, u64::MAX];

/// One of the corpus's inputs, changed in 1 to 16 places.
pub(super) fn mutated(corpus: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    let mut bytes = rng.choice(corpus).cloned().unwrap_or_default();
    for _ in 0..1 << rng.u32(0..5) {
        change(&mut bytes, corpus, &mut rng);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(..=bytes.len());
    let piece = at..bytes.len().min(at + (1 << rng.u32(0..7)));
    match rng.u32(0..9) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(piece)),
        2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u32(0..8)),
        3 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.u8(..)),
        4 => drop(bytes.splice(at..at, [rng.u8(..)])),
        // The same again, elsewhere.
        5 => {
            let copy = bytes[piece].to_vec();
            let to = rng.usize(..=bytes.len());
            bytes.splice(to..to, copy);
        }
        // A piece of another input.
        6 => {
            let other = rng.choice(corpus).map(Vec::as_slice).unwrap_or_default();
            let from = rng.usize(..=other.len());
            let length = rng.usize(..=other.len() - from);
            bytes.splice(piece, other[from..from + length].iter().copied());
        }
        // A number as a text, in place of the digits that are there, or in binary.
        7 => {
            let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            bytes.splice(at..at + digits, edge(rng).to_string().into_bytes());
        }
        _ => {
            let size = [1, 2, 4, 8][rng.usize(..4)];
            let number = edge(rng).to_le_bytes();
            let end = bytes.len().min(at + size);
            bytes.splice(at..end, number.into_iter().take(size));
        }
    }
}

/// A number at or beside an edge.
fn edge(rng: &mut Rng) -> u64 {
    rng.choice(EDGES).unwrap_or(0).wrapping_add(rng.u64(..3)).wrapping_sub(1)
}
