//! Which kernel to use: one that gives the right answers, and of those the fastest here and now.
//!
//! No table of CPU names: cores differ in ways that no table has, and the same core differs with its neighbours. So each kernel that
//! passes its self-test hashes for a moment, in turns, and the best turn counts. A node whose threads stay behind that measures again.

use std::fmt;
use std::time::Duration;

use super::self_test::measuring_job;
use super::{Kernel, Prepared, SelfTestError, available, self_test};

/// A turn: long enough for the clock, short enough that four kernels and five turns take some twenty milliseconds (a turn is one batch
/// at least). As much again goes into the self-tests of all variants and the choice among them.
const TURN: Duration = Duration::from_micros(500);

/// The first turns warm caches and clocks up; disturbances are shorter than all of them.
const TURNS: usize = 5;

/// Two kernels whose rates differ by less than this part cannot be told apart in so short a time.
const NOISE: f64 = 0.03;

/// So many times as fast as the present kernel another one has to be to take its place.
const CLEARLY: f64 = 1.1;

/// Tells the time since some fixed moment.
pub type Clock<'a> = &'a dyn Fn() -> Duration;

/// A kernel, and why this one.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The kernel.
    pub kernel: &'static dyn Kernel,
    /// Its name, or that of its variant that searched texts here when it was chosen.
    pub variant: &'static str,
    /// Whether the user named it.
    pub named: bool,
    /// What each kernel that works did on one thread, in nonces per second, fastest first.
    pub measured: Vec<(&'static str, f64)>,
    /// Kernels that gave a wrong answer and are left out.
    pub refused: Vec<SelfTestError>,
}

/// Why no kernel could be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KernelError {
    /// No kernel of that name on this CPU.
    #[error("no kernel {name:?} on this CPU; there are: {available}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is, separated by commas.
        available: String,
    },
    /// The kernel that was asked for gave a wrong answer, or every kernel did.
    #[error(transparent)]
    SelfTest(#[from] SelfTestError),
}

/// The kernel called `name`, or the one that is fastest by `clock`; after its self-test.
///
/// # Errors
/// When there is none of that name, or it fails its self-test, or all do.
pub fn choose(name: Option<&str>, clock: Clock) -> Result<Choice, KernelError> {
    choose_from(&available(), name, clock)
}

fn choose_from(kernels: &[&'static dyn Kernel], name: Option<&str>, clock: Clock) -> Result<Choice, KernelError> {
    if let Some(name) = name {
        let kernel = *kernels.iter().find(|kernel| kernel.name() == name).ok_or_else(|| KernelError::Unknown {
            name: name.to_owned(),
            available: kernels.iter().map(|kernel| kernel.name()).collect::<Vec<_>>().join(", "),
        })?;
        self_test(kernel)?;
        (0..TURNS).for_each(|_| kernel.measure(clock));
        return Ok(Choice::of(kernel, true, &[], vec![]));
    }
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for &kernel in kernels {
        match self_test(kernel) {
            Ok(()) => good.push((kernel, 0.0)),
            Err(error) => refused.push(error),
        }
    }
    measure(&mut good, clock);
    match (good.first(), refused.first()) {
        (Some(&(kernel, _)), _) => Ok(Choice::of(kernel, false, &good, refused)),
        (None, Some(error)) => Err(error.clone().into()),
        (None, None) => Err(KernelError::Unknown { name: "any".to_owned(), available: "none".to_owned() }),
    }
}

/// Measures kernels in turns, beside their variants, and sorts them, the fastest first.
fn measure(kernels: &mut [(&'static dyn Kernel, f64)], clock: Clock) {
    for _ in 0..TURNS {
        for (kernel, best) in &mut *kernels {
            kernel.measure(clock);
            *best = rate(*kernel, &Prepared::new(*kernel, measuring_job()), TURN, clock).max(*best);
        }
    }
    kernels.sort_by(|(_, a), (_, b)| b.total_cmp(a));
}

/// Nonces per second that `kernel` does on a job that it has prepared, in one turn of at least `turn`.
pub(crate) fn rate(kernel: &dyn Kernel, prepared: &Prepared, turn: Duration, clock: Clock) -> f64 {
    let job = prepared.job();
    let mut rest = job.puzzle.first_nonces();
    let (begin, mut hashes) = (clock(), 0);
    loop {
        let batch = rest.take_front(kernel.batch());
        prepared.scan(batch);
        hashes += batch.len();
        let time = clock().saturating_sub(begin);
        if time >= turn || rest.is_empty() {
            return hashes as f64 / time.as_secs_f64().max(1e-9);
        }
    }
}

impl Choice {
    /// `good` are the kernels that work, as they were measured, the fastest first.
    fn of(
        kernel: &'static dyn Kernel,
        named: bool,
        good: &[(&'static dyn Kernel, f64)],
        refused: Vec<SelfTestError>,
    ) -> Self {
        let measured = good.iter().map(|(kernel, rate)| (kernel.name(), *rate)).collect();
        Self { kernel, variant: kernel.variant(&measuring_job()), named, measured, refused }
    }

    /// A kernel that was not measured, for tests.
    #[cfg(test)]
    pub(crate) fn by_hand(kernel: &'static dyn Kernel) -> Self {
        Self::of(kernel, false, &[], vec![])
    }

    /// What the kernel did on one thread when it was chosen, in nonces per second; none if the user has named it.
    pub fn promised(&self) -> Option<f64> {
        let name = self.kernel.name();
        self.measured.iter().find_map(|&(measured, rate)| (measured == name).then_some(rate))
    }

    /// Measures the kernels again, in all their variants, and gives what to use from now on: another kernel only if it is clearly faster, and
    /// always the one that the user has named. This takes some tens of milliseconds of CPU time.
    pub fn again(&self, clock: Clock) -> Self {
        self.again_from(&available(), clock)
    }

    fn again_from(&self, kernels: &[&'static dyn Kernel], clock: Clock) -> Self {
        let is_good = |name| self.measured.iter().any(|&(measured, _)| measured == name);
        let mut good: Vec<_> =
            kernels.iter().filter(|kernel| is_good(kernel.name())).map(|&kernel| (kernel, 0.0)).collect();
        good.iter().for_each(|(kernel, _)| kernel.measure_anew(TURNS, clock));
        measure(&mut good, clock);
        let own = good.iter().find(|(kernel, _)| kernel.name() == self.kernel.name());
        let kernel = match (good.first(), own) {
            (Some((first, rate)), Some((_, own))) if *rate > own * CLEARLY => *first,
            _ => self.kernel,
        };
        Self::of(kernel, self.named, &good, self.refused.clone())
    }
}

/// For the log and `headframe status`.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.named {
            return write!(f, "{}, as asked for", self.variant);
        }
        let rates: Vec<_> = self.measured.iter().map(|(name, rate)| format!("{name} {:.1} MH/s", rate / 1e6)).collect();
        write!(f, "{}, the fastest of: {} a thread", self.variant, rates.join(", "))?;
        if let [(_, first), (other, second), ..] = self.measured[..]
            && second > first * (1.0 - NOISE)
        {
            write!(f, "; {other} may be as fast, so little do they differ")?;
        }
        self.refused.iter().try_for_each(|error| write!(f, "; left out: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::kernel::Candidates;
    use crate::kernel::blind::Blind;
    use crate::kernel::portable::PORTABLE;
    use crate::work::Job;

    /// Ticks a microsecond at each look.
    fn ticking() -> impl Fn() -> Duration {
        let ticks = Cell::new(0);
        move || {
            ticks.set(ticks.get() + 1);
            Duration::from_micros(ticks.get())
        }
    }

    /// Right, but in batches of another size: by a clock that ticks at each look, faster or slower.
    struct Sized(&'static str, u64);

    impl Kernel for Sized {
        fn name(&self) -> &'static str {
            self.0
        }

        fn batch(&self) -> u64 {
            self.1
        }

        fn prepare(&self, job: &Job) -> Box<dyn Candidates> {
            PORTABLE.prepare(job)
        }
    }

    const WRONG: Blind = Blind { name: "wrong", batch: 1 << 20 };

    #[test]
    fn the_fastest_right_kernel_is_chosen() {
        static SLOW: Sized = Sized("slow", 10);
        static FAST: Sized = Sized("fast", 20);
        let choice = choose_from(&[&WRONG, &SLOW, &FAST], None, &ticking()).unwrap();
        assert_eq!(choice.kernel.name(), "fast");
        assert_eq!(choice.measured.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["fast", "slow"]);
        assert_eq!(choice.refused.len(), 1);
        assert!(choice.to_string().contains("left out: kernel wrong failed its self-test"), "{choice}");
    }

    #[test]
    fn a_named_kernel_is_used_if_it_is_there_and_right() {
        static SLOW: Sized = Sized("slow", 10);
        let kernels: [&'static dyn Kernel; 2] = [&WRONG, &SLOW];
        assert_eq!(choose_from(&kernels, Some("slow"), &ticking()).unwrap().kernel.name(), "slow");
        assert!(matches!(choose_from(&kernels, Some("wrong"), &ticking()), Err(KernelError::SelfTest(_))));
        let unknown = choose_from(&kernels, Some("gpu"), &ticking()).unwrap_err();
        assert_eq!(unknown.to_string(), "no kernel \"gpu\" on this CPU; there are: wrong, slow");
        assert!(matches!(choose_from(&[&WRONG], None, &ticking()), Err(KernelError::SelfTest(_))));
    }

    #[test]
    fn measured_again_a_kernel_gives_way_to_one_that_is_clearly_faster() {
        static OLD: Sized = Sized("old", 100);
        static ALIKE: Sized = Sized("alike", 108);
        static BETTER: Sized = Sized("better", 112);
        let old = choose_from(&[&OLD, &WRONG], None, &ticking()).unwrap();
        let with = |others: &[&'static str]| {
            let measured = others.iter().map(|&name| (name, 1.0)).chain(old.measured.clone()).collect();
            Choice { measured, ..old.clone() }
        };
        let again = with(&["alike"]).again_from(&[&WRONG, &OLD, &ALIKE, &BETTER], &ticking());
        assert_eq!(again.kernel.name(), "old");
        assert_eq!(again.measured.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["alike", "old"], "no others");
        assert!((again.promised().unwrap() / 1e8 - 1.0).abs() < 1e-9, "{again:?}");
        assert_eq!(again.refused.len(), 1);
        let again = with(&["alike", "better"]).again_from(&[&OLD, &ALIKE, &BETTER], &ticking());
        assert_eq!((again.kernel.name(), again.named), ("better", false));
        assert!(again.to_string().starts_with("better, the fastest of: better"), "{again}");
        let named = choose_from(&[&OLD], Some("old"), &ticking()).unwrap();
        let again = named.again_from(&[&OLD, &BETTER], &ticking());
        assert_eq!((again.kernel.name(), again.promised()), ("old", None));
    }

    #[test]
    fn a_rate_is_measured_until_a_whole_turn_has_passed() {
        static KERNEL: Sized = Sized("any", 10);
        let prepared = Prepared::new(&KERNEL, measuring_job());
        for ticks in [2, 3, 5] {
            let (looks, time) = (Cell::new(0), ticking());
            let clock = || {
                looks.set(looks.get() + 1);
                time()
            };
            let rate = rate(&KERNEL, &prepared, Duration::from_micros(ticks), &clock);
            assert_eq!(looks.get(), ticks + 1, "at the start and after each batch");
            assert!((rate / 1e7 - 1.0).abs() < 1e-9, "ten nonces in a microsecond: {rate}");
        }
    }
}
