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

use super::lanes::{Code, Digits, Entry, INPUTS, LaneKernel, Pass, Shape, Table};
use super::variants::Variants;

include!(concat!(env!("OUT_DIR"), "/avx512.rs"));

const LANES: usize = 16;

macro_rules! scan_code {
    ($name:ident) => {
        #[unsafe(naked)]
        unsafe extern "sysv64" fn $name<const COPY: usize>(_: *const Pass, _: usize, _: *mut u32, _: *mut u8) {
            naked_asm!(include_str!(concat!(env!("OUT_DIR"), "/avx512_", stringify!($name), ".s")), options(raw))
        }
    };
}

scan_code!(header);
scan_code!(text);
scan_code!(schedule);
scan_code!(rolled);

static DIGITS: Digits = Digits::new(LANES);

/// The kernel, if this CPU has AVX-512F and the operating system keeps its registers.
pub(super) fn get() -> Option<&'static Variants> {
    static KERNEL: LazyLock<Option<Variants>> = LazyLock::new(|| {
        let there = std::arch::is_x86_feature_detected!("avx512f");
        there.then(|| Variants::new(vec![Box::new(copy::<0>()), Box::new(copy::<1>()), Box::new(copy::<2>())]))
    });
    KERNEL.as_ref()
}

/// Only for CPUs with AVX-512F.
fn copy<const COPY: usize>() -> LaneKernel {
    let code = |entry: Entry, shape| {
        // SAFETY: the code and its shape come from one run of the generator, for 16 lanes, and our only caller has seen that the
        // CPU has AVX-512F; the code uses no other extension's instructions.
        unsafe { Code::new(entry, shape, LANES) }
    };
    LaneKernel {
        name: "avx512",
        // 1.2 ms at the 85 MH/s of a Zen 5 core.
        batch: 100_000,
        header: code(header::<COPY>, HEADER),
        text: code(text::<COPY>, TEXT),
        rolled: Some([code(schedule::<COPY>, SCHEDULE), code(rolled::<COPY>, ROLLED)]),
        digits: &DIGITS,
    }
}
