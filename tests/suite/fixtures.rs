//! Puzzles that several tests use.

/// The previous hash of the exercise's check values.
pub(crate) const PREV: &str = "00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db";

/// Bitcoin's first header without its last two fields, the bits and the nonce, which have eight digits each.
pub(crate) const HEADER_START: &str = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27a\
                                       c72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49";
