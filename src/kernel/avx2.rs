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

use super::lanes::{Code, Digits, Entry, INPUTS, LaneKernel, Pass, Shape, Table};
use super::variants::Variants;

include!(concat!(env!("OUT_DIR"), "/avx2.rs"));

const LANES: usize = 8;

macro_rules! scan_code {
    ($name:ident) => {
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name<const COPY: usize>(_: *const Pass, _: usize, _: *mut u32, _: *mut u8) {
            naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx2_", stringify!($name), ".s")), options(raw))
        }
    };
}

scan_code!(header);
scan_code!(text);
scan_code!(short_header);
scan_code!(short_text);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX2 and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static Variants> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        let there = std::arch::is_x86_feature_detected!("avx2");
        there.then(|| Variants::new(vec![Box::new(long::<0>()), Box::new(long::<1>()), Box::new(short())]))
    });
    KERNEL.as_ref()
}

/// Only for CPUs with AVX2.
fn long<const COPY: usize>() -> LaneKernel {
    kernel([(header::<COPY>, HEADER), (text::<COPY>, TEXT)])
}

/// Only for CPUs with AVX2.
fn short() -> LaneKernel {
    kernel([(short_header::<0>, SHORT_HEADER), (short_text::<0>, SHORT_TEXT)])
}

/// The code for headers, and for texts, of one run of the generator each.
fn kernel(code: [(Entry, Shape); 2]) -> LaneKernel {
    let [header, text] = code.map(|(entry, shape)| {
        // SAFETY: the code and its shape come from one run of the generator, for 8 lanes, as our callers give them, who are called only
        // where the CPU has AVX2; the code uses no later extension's instructions.
        unsafe { Code::new(entry, shape, LANES) }
    });
    // 1 ms at the 20 MH/s of a Zen 5 core.
    LaneKernel { name: "avx2", batch: 20_000, header, text, rolled: None, digits: &DIGITS }
}
