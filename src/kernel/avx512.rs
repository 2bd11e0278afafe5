//! The kernel for AVX-512 (its foundation, F, is enough): 16 lanes of double SHA-256.
//!
//! A pass through the generated code hashes 16 nonces; see `program` for how it comes about, `lanes` for how nonces get into
//! lanes.
//!
//! What was done for speed (a header's hash takes 46.7 cycles on Zen 5, of 44.6 that its ports need, and 99.3 of 89 on Zen 4):
//! 1. everything that the job alone decides is worked out once a job, and only the digest word that decides is worked out at all
//!    (`program/sha256d.rs`);
//! 2. three-operand logic and rotates (`vpternlogd`, `vprord`), constants by embedded broadcast;
//! 3. three or four batches are on their way at once (`program/stage.rs`), since one alone waits for its own results.

#![allow(unsafe_code)]

use std::sync::LazyLock;

use super::Kernel;
use super::lanes::{Digits, INPUTS, LaneKernel, Shape, Table, scan_code};
use super::variants::Variants;
use cpu::Cpu;

include!(concat!(env!("OUT_DIR"), "/avx512.rs"));

const LANES: usize = 16;

scan_code!(header, "avx512", Cpu, LANES);
scan_code!(text, "avx512", Cpu, LANES);
scan_code!(schedule, "avx512", Cpu, LANES);
scan_code!(rolled, "avx512", Cpu, LANES);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX-512F and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static dyn Kernel> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        Cpu::get().map(|cpu| {
            Variants::new(
                "avx512",
                vec![
                    Box::new(copy::<0>(cpu, "avx512, copy 1")),
                    Box::new(copy::<1>(cpu, "avx512, copy 2")),
                    Box::new(copy::<2>(cpu, "avx512, copy 3")),
                ],
            )
        })
    });
    KERNEL.as_ref().map(|kernel| kernel as _)
}

fn copy<const COPY: usize>(cpu: Cpu, name: &'static str) -> LaneKernel {
    LaneKernel {
        name,
        // 1.2 ms at the 85 MH/s of a Zen 5 core.
        batch: 100_000,
        header: header::<COPY>(cpu),
        text: text::<COPY>(cpu),
        rolled: Some([schedule::<COPY>(cpu), rolled::<COPY>(cpu)]),
        digits: &DIGITS,
    }
}

/// Shows that this CPU has AVX-512F.
mod cpu {
    #[derive(Clone, Copy)]
    pub(super) struct Cpu(());

    impl Cpu {
        pub(super) fn get() -> Option<Self> {
            std::arch::is_x86_feature_detected!("avx512f").then_some(Self(()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::lanes::{assert_apart, skip};

    #[test]
    fn copies_lie_apart() {
        let Some(cpu) = Cpu::get() else { return skip("kernel::avx512: copies_lie_apart", "AVX-512F") };
        assert_apart(&[header::<0>(cpu), header::<1>(cpu), header::<2>(cpu)]);
        assert_apart(&[text::<0>(cpu), text::<1>(cpu), text::<2>(cpu)]);
        assert_apart(&[schedule::<0>(cpu), schedule::<1>(cpu), schedule::<2>(cpu)]);
        assert_apart(&[rolled::<0>(cpu), rolled::<1>(cpu), rolled::<2>(cpu)]);
    }
}
