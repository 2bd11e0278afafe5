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

use std::arch::naked_asm;
use std::sync::LazyLock;

use super::Kernel;
use super::lanes::{Code, Digits, INPUTS, LaneKernel, Pass, Shape, Table};
use super::variants::Variants;

include!(concat!(env!("OUT_DIR"), "/avx2.rs"));

const LANES: usize = 8;

/// That this CPU has AVX2: only [`get`] makes it.
#[derive(Clone, Copy)]
struct Avx2(());

macro_rules! scan_code {
    ($name:ident, $shape:ident) => {
        /// A copy of the code for each number.
        fn $name<const COPY: usize>(_: Avx2) -> Code {
            #[unsafe(naked)]
            unsafe extern "sysv64" fn entry<const COPY: usize>(_: *const Pass, _: usize, _: *mut u32, _: *mut u8) {
                naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx2_", stringify!($name), ".s")), options(raw))
            }
            // SAFETY: the code and its shape come from one run of the generator, for 8 lanes, and the CPU has AVX2; the code uses no
            // later extension's instructions.
            unsafe { Code::new(entry::<COPY>, $shape, LANES) }
        }
    };
}

scan_code!(header, HEADER);
scan_code!(text, TEXT);
scan_code!(short_header, SHORT_HEADER);
scan_code!(short_text, SHORT_TEXT);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX2 and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static dyn Kernel> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        std::arch::is_x86_feature_detected!("avx2").then(|| {
            let cpu = Avx2(());
            let variants = [
                kernel("avx2, copy 1", header::<0>(cpu), text::<0>(cpu)),
                kernel("avx2, copy 2", header::<1>(cpu), text::<1>(cpu)),
                kernel("avx2, short", short_header::<0>(cpu), short_text::<0>(cpu)),
            ];
            Variants::new("avx2", variants.map(|variant| Box::new(variant) as Box<dyn Kernel>).into())
        })
    });
    KERNEL.as_ref().map(|kernel| kernel as _)
}

fn kernel(name: &'static str, header: Code, text: Code) -> LaneKernel {
    // 1 ms at the 20 MH/s of a Zen 5 core.
    LaneKernel { name, batch: 20_000, header, text, rolled: None, digits: &DIGITS }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A linker that folds identical code would leave one.
    #[test]
    fn copies_lie_apart() {
        // Their code is not run here.
        let cpu = Avx2(());
        assert_ne!(header::<0>(cpu).address(), header::<1>(cpu).address());
        assert_ne!(text::<0>(cpu).address(), text::<1>(cpu).address());
    }
}
