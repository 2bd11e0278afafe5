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

use std::arch::naked_asm;
use std::sync::LazyLock;

use super::Kernel;
use super::lanes::{Code, Digits, INPUTS, LaneKernel, Pass, Shape, Table};
use super::variants::Variants;

include!(concat!(env!("OUT_DIR"), "/avx512.rs"));

const LANES: usize = 16;

/// That this CPU has AVX-512F: only [`get`] makes it.
#[derive(Clone, Copy)]
struct Avx512(());

macro_rules! scan_code {
    ($name:ident, $shape:ident) => {
        /// A copy of the code for each number.
        fn $name<const COPY: usize>(_: Avx512) -> Code {
            #[unsafe(naked)]
            unsafe extern "sysv64" fn entry<const COPY: usize>(_: *const Pass, _: usize, _: *mut u32, _: *mut u8) {
                naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx512_", stringify!($name), ".s")), options(raw))
            }
            // SAFETY: the code and its shape come from one run of the generator, for 16 lanes, and the CPU has AVX-512F; the code uses no
            // other extension's instructions.
            unsafe { Code::new(entry::<COPY>, $shape, LANES) }
        }
    };
}

scan_code!(header, HEADER);
scan_code!(text, TEXT);
scan_code!(schedule, SCHEDULE);
scan_code!(rolled, ROLLED);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX-512F and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static dyn Kernel> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        std::arch::is_x86_feature_detected!("avx512f").then(|| {
            let cpu = Avx512(());
            let copies =
                [copy::<0>(cpu, "avx512, copy 1"), copy::<1>(cpu, "avx512, copy 2"), copy::<2>(cpu, "avx512, copy 3")];
            Variants::new("avx512", copies.map(|copy| Box::new(copy) as Box<dyn Kernel>).into())
        })
    });
    KERNEL.as_ref().map(|kernel| kernel as _)
}

fn copy<const COPY: usize>(cpu: Avx512, name: &'static str) -> LaneKernel {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A linker that folds identical code would leave one.
    #[test]
    fn copies_lie_apart() {
        // Their code is not run here.
        let cpu = Avx512(());
        assert_ne!(header::<0>(cpu).address(), header::<1>(cpu).address());
        assert_ne!(text::<0>(cpu).address(), text::<1>(cpu).address());
    }
}
