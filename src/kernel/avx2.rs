//! The kernel for AVX2: 8 lanes of double SHA-256.
//!
//! A pass through the generated code hashes 8 nonces; see `program` for how it comes about, `lanes` for how nonces get into lanes.
//!
//! What was done for speed (203.5 cycles a hash on Zen 5, of 180 that its ports need):
//! 1. what the job alone decides is worked out once a job, and only the digest word that decides is worked out at all;
//! 2. the later rounds are a loop of 8-round bodies (`program/segments.rs`). Straight-line code, as the AVX-512 kernel has it, does not
//!    fit the op cache with three operations to a rotate, and takes 273 cycles (Zen 4). The first 32 rounds of each hash stand in full,
//!    because constants fold there;
//! 3. in those, what folding leaves waits for its own results. So one segment has them of two batches side by side: of the first hash of
//!    the batch that begins, and of the second hash of the one before. One after the other, they take 232.9 cycles;
//! 4. in the bodies there is one batch at a time, so that its working variables stay in registers from one to the next;
//! 5. there is a short variant, in which only 16 rounds of each hash stand in full: 2,000 instructions instead of 4,000, for op caches that
//!    do not hold those (217 cycles on Zen 5);
//! 6. the three chains of dependent operations in one hash are offset against each other (`Pace` in `program/op.rs`).

#![allow(unsafe_code)]

use std::sync::LazyLock;

use super::Kernel;
use super::lanes::{Code, Digits, INPUTS, LaneKernel, Shape, Table, scan_code};
use super::variants::Variants;
use cpu::Cpu;

include!(concat!(env!("OUT_DIR"), "/avx2.rs"));

const LANES: usize = 8;

scan_code!(header, "avx2", Cpu, LANES);
scan_code!(text, "avx2", Cpu, LANES);
scan_code!(short_header, "avx2", Cpu, LANES);
scan_code!(short_text, "avx2", Cpu, LANES);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX2 and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static dyn Kernel> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        Cpu::get().map(|cpu| {
            Variants::new(
                "avx2",
                vec![
                    Box::new(kernel("avx2, copy 1", header::<0>(cpu), text::<0>(cpu))),
                    Box::new(kernel("avx2, copy 2", header::<1>(cpu), text::<1>(cpu))),
                    Box::new(kernel("avx2, short", short_header::<0>(cpu), short_text::<0>(cpu))),
                ],
            )
        })
    });
    KERNEL.as_ref().map(|kernel| kernel as _)
}

fn kernel(name: &'static str, header: Code, text: Code) -> LaneKernel {
    // 1 ms at the 20 MH/s of a Zen 5 core.
    LaneKernel { name, batch: 20_000, header, text, rolled: None, digits: &DIGITS }
}

/// Shows that this CPU has AVX2.
mod cpu {
    #[derive(Clone, Copy)]
    pub(super) struct Cpu(());

    impl Cpu {
        pub(super) fn get() -> Option<Self> {
            std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::lanes::{assert_apart, skip};

    #[test]
    fn copies_lie_apart() {
        let Some(cpu) = Cpu::get() else { return skip("kernel::avx2: copies_lie_apart", "AVX2") };
        assert_apart(&[header::<0>(cpu), header::<1>(cpu)]);
        assert_apart(&[text::<0>(cpu), text::<1>(cpu)]);
    }
}
