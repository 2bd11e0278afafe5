//! Proof of scan: whether what a node shows is credible for what it claims to have searched.
//!
//! Searched nonces hold a number of witnesses that is known but for chance: Poisson, of a mean `e`. An [`Account`] weighs what was shown, `s`,
//! against four ways to be wrong: that only 15/16, 3/4 or 1/4 of the witnesses appear, or twice as many. By each of these rates `r` what was
//! shown is `r^s exp(e (1 - r))` times as likely as by the truth. The logarithm of that is summed up over all claims, and begins anew from
//! 0 whenever it falls below: what a node did well before it broke does not count for it (Page's cumulative sum test, which is
//! the quickest there is for a given rate of false alarms; Moustakides 1986). No window, no clock, four numbers a node.
//!
//! **False alarms.** From one beginning the likelihood ratio of an honest node ever reaches `exp(20)` with a probability of `exp(-20)` at
//! most (Ville's inequality: it is a martingale of mean 1; for a binomial number of witnesses a supermartingale). The beginnings that matter
//! lie next to a witness, so a lease has 64 of them on average or fewer, in however many claims it is told: at most 4 · 64 · `exp(-20)`, five
//! false alarms in ten million leases. In truth there are far fewer, since beginnings that are near each other do not alarm apart.
//!
//! **How soon.** By a node that shows the part `p` of the witnesses, a sum grows by `p ln r + 1 - r` for each one expected. In leases of
//! 32 to 63 expected witnesses, by the simulation in the tests:
//!
//! | the node | expected witnesses | leases, mean | longest of 200 |
//! |---|---|---|---|
//! | shows none | 27 | 1 | 1 |
//! | searches half | 190 | 4.3 | 6 |
//! | misses a quarter | 580 | 13 | 26 |
//! | misses an eighth: one of AVX2's lanes | 3,300 | 63 | 112 |
//! | misses a sixteenth: one of AVX-512's lanes | 10,000 | 199 | 445 |
//! | shows twice as many as there are | 52 | 1.5 | 3 |
//!
//! A node that misses less than a thirtieth is not found.

use crate::work::{Job, MAX_WITNESSES, NonceRange, Search, WitnessBits};

/// The rates of witnesses, by the true one, that an account holds against a node.
const WRONG_RATES: [f64; 4] = [15.0 / 16.0, 0.75, 0.25, 2.0];

/// How many times as likely as the truth a wrong rate has to be: `exp(20)`, or 500,000,000.
const INCREDIBLE: f64 = 20.0;

/// What one node has shown for what it claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// How likely each wrong rate is, as a natural logarithm; 0 while it is no likelier than the truth.
    sums: [f64; WRONG_RATES.len()],
}

impl Account {
    /// A claim: so many witnesses that there must be, and those that were shown and [`verified`]. Each nonce must be claimed once only.
    pub(super) fn add(&mut self, expected: f64, shown: u64) {
        for (sum, rate) in self.sums.iter_mut().zip(WRONG_RATES) {
            *sum = (*sum + shown as f64 * rate.ln() + expected * (1.0 - rate)).max(0.0);
        }
    }

    /// Whether chance cannot explain what was shown. Stays so until as much speaks for the node; to forgive it, begin a new account.
    pub(super) fn is_incredible(&self) -> bool {
        self.doubt() >= INCREDIBLE
    }

    fn doubt(&self) -> f64 {
        self.sums.into_iter().fold(0.0, f64::max)
    }
}

/// How many witnesses so many searched nonces of `job` hold on average. In a job that ends with its first solution, a solution is not among
/// what was searched, be it a witness or not.
pub(super) fn expected(job: &Job, bits: WitnessBits, nonces: u64) -> f64 {
    match job.goal.search {
        Search::First => {
            let (witness, solution) = (bits.target().probability(), job.target().probability());
            // Of nonces that are no solutions; where all are, nothing is expected of those that were searched.
            if solution < 1.0 { nonces as f64 * (witness - solution).max(0.0) / (1.0 - solution) } else { 0.0 }
        }
        Search::Every => bits.expected(nonces),
    }
}

/// How many witnesses there are, if they are what a node says that has searched `range`: nonces of it in ascending order, each a witness by
/// the reference path (a quarter of a microsecond each). `None` if they are not.
pub(super) fn verified(job: &Job, bits: WitnessBits, range: NonceRange, witnesses: &[u64]) -> Option<u64> {
    let ascend = witnesses.is_sorted_by(|witness, next| witness < next);
    let are_inside = witnesses.iter().all(|&witness| range.contains(witness));
    if witnesses.len() > MAX_WITNESSES || !ascend || !are_inside || !job.space().covers(&range) {
        return None;
    }
    let are_witnesses = witnesses.iter().all(|&witness| bits.check(&job.puzzle, witness).is_some());
    are_witnesses.then_some(witnesses.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::fixtures::check_job;
    use crate::work::{Target, ZeroUnit};

    /// Numbers without a pattern (splitmix64), all from one seed.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        }

        /// From 0 to below 1.
        fn part(&mut self) -> f64 {
            (self.next() >> 11) as f64 * (-53f64).exp2()
        }
    }

    /// Draws a Poisson number by its distribution function.
    struct Poisson(Vec<f64>);

    impl Poisson {
        fn new(mean: f64) -> Self {
            let (mut term, mut sum, mut below) = ((-mean).exp(), 0.0, Vec::new());
            for number in 1.. {
                sum += term;
                below.push(sum);
                term *= mean / f64::from(number);
                if f64::from(number) > mean && term < 1e-18 {
                    break;
                }
            }
            Self(below)
        }

        fn draw(&self, chance: &mut Chance) -> u64 {
            let part = chance.part();
            self.0.partition_point(|&below| below <= part) as u64
        }
    }

    /// A lease's expected witnesses: ranges have any length, so each number is as likely.
    const LEASES: std::ops::Range<u64> = 32..64;

    /// What is shown for each of these by a node that shows this part of the witnesses.
    fn nodes(part: f64) -> Vec<Poisson> {
        LEASES.map(|mean| Poisson::new(mean as f64 * part)).collect()
    }

    /// One lease, told in one claim.
    fn lease(account: &mut Account, node: &[Poisson], chance: &mut Chance) {
        let which = (chance.next() % node.len() as u64) as usize;
        account.add((LEASES.start + which as u64) as f64, node[which].draw(chance));
    }

    #[test]
    fn honest_nodes_raise_no_alarm_in_two_million_leases() {
        let (mut chance, honest) = (Chance(1), nodes(1.0));
        let mut account = Account::default();
        let mut worst = 0f64;
        for _ in 0..2_000_000 {
            lease(&mut account, &honest, &mut chance);
            worst = worst.max(account.doubt());
        }
        assert!(worst < INCREDIBLE, "{worst}");
        assert!(worst > 5.0, "chance was at work: {worst}");
    }

    /// The bound that the file's head promises, where it can be seen: at a lower threshold.
    #[test]
    fn false_alarms_are_as_rare_as_promised_however_a_lease_is_told() {
        const THRESHOLD: f64 = 8.0;
        for claims in [1, 8, 64] {
            let mut chance = Chance(claims);
            let expected = 48.0 / claims as f64;
            let honest = Poisson::new(expected);
            let (mut account, mut alarms) = (Account::default(), 0);
            const LEASES: u64 = 100_000;
            for _ in 0..LEASES * claims {
                account.add(expected, honest.draw(&mut chance));
                if account.doubt() >= THRESHOLD {
                    account = Account::default();
                    alarms += 1;
                }
            }
            let promised = LEASES as f64 * 48.0 * 4.0 * (-THRESHOLD).exp();
            assert!(f64::from(alarms) < promised, "{alarms} alarms where {promised} were promised at most");
            assert!(alarms > 0, "none at all: the threshold is never reached");
        }
    }

    /// Leases from the moment a node breaks, having been honest for long, until it is found: the mean and the longest of 200 nodes.
    fn leases_until_found(part: f64) -> (f64, u64) {
        let (mut chance, honest, broken) = (Chance(2), nodes(1.0), nodes(part));
        let all: Vec<_> = (0..200)
            .map(|_| {
                let mut account = Account::default();
                for _ in 0..1000 {
                    lease(&mut account, &honest, &mut chance);
                }
                assert!(!account.is_incredible());
                (1..)
                    .find(|_| {
                        lease(&mut account, &broken, &mut chance);
                        account.is_incredible()
                    })
                    .unwrap()
            })
            .collect();
        (all.iter().sum::<u64>() as f64 / 200.0, all.into_iter().max().unwrap())
    }

    #[test]
    fn broken_and_lazy_nodes_are_found_as_soon_as_promised() {
        // As in the file's head.
        for (part, mean, longest) in
            [(0.0, 1.0, 1), (0.5, 4.3, 6), (0.75, 13.0, 26), (0.875, 63.0, 112), (0.9375, 199.0, 445), (2.0, 1.5, 3)]
        {
            let found = leases_until_found(part);
            assert!((found.0 - mean).abs() < 0.5 && found.1.abs_diff(longest) <= longest / 10, "{part}: {found:?}");
        }
    }

    #[test]
    fn doubt_remains_until_as_much_speaks_for_the_node() {
        let mut account = Account::default();
        account.add(32.0, 0);
        assert!(account.is_incredible());
        for _ in 0..4 {
            account.add(0.0, 1);
        }
        assert!(!account.is_incredible());
    }

    fn job(zero_bits: i64, search: Search) -> Job {
        check_job(0, search).with_target(Target::from_zeros(zero_bits, ZeroUnit::Bits).unwrap())
    }

    #[test]
    fn a_solution_is_not_among_what_was_searched_for_the_first() {
        let half = WitnessBits::new(1).unwrap();
        assert_eq!(expected(&job(0, Search::First), half, 900), 0.0, "every nonce is a solution");
        assert!(
            (expected(&job(2, Search::First), half, 900) - 300.0).abs() < 1e-9,
            "of three that are none, one is a witness"
        );
    }

    #[test]
    fn what_is_expected_is_what_searches_meet() {
        let bits = WitnessBits::new(6).unwrap();
        for (zero_bits, search) in
            [(60, Search::First), (9, Search::First), (7, Search::First), (5, Search::First), (7, Search::Every)]
        {
            let job = job(zero_bits, search);
            // Searches that begin one behind the other, each ending where it is solved.
            let (mut shown, mut must) = (0, 0.0);
            let mut nonce = 1;
            while nonce < 400_000 {
                let end = match search {
                    Search::First => (nonce..nonce + 5000).find(|&nonce| job.check(nonce).is_some()),
                    Search::Every => None,
                };
                let searched = NonceRange::new(nonce, end.unwrap_or(nonce + 5000));
                let witnesses: Vec<_> =
                    (searched.start..searched.end).filter(|&n| bits.check(&job.puzzle, n).is_some()).collect();
                shown += verified(&job, bits, searched, &witnesses).unwrap();
                must += expected(&job, bits, searched.len());
                nonce = searched.end + 1;
            }
            assert!((shown as f64 - must).abs() <= 4.0 * must.sqrt(), "{zero_bits} {search:?}: {shown} of {must}");
            assert_eq!(shown == 0, zero_bits <= 6, "solutions are easier than witnesses");
        }
    }

    #[test]
    fn only_true_witnesses_are_counted() {
        let (job, bits, range) = (job(60, Search::First), WitnessBits::new(6).unwrap(), NonceRange::new(1000, 4000));
        let witnesses: Vec<_> = (1000..4000).filter(|&nonce| bits.check(&job.puzzle, nonce).is_some()).collect();
        let count = witnesses.len();
        assert!(count > 10);
        assert_eq!(verified(&job, bits, range, &witnesses), Some(count as u64));
        assert_eq!(verified(&job, bits, range, &[]), Some(0));
        let claim = |change: &dyn Fn(&mut Vec<u64>)| {
            let mut witnesses = witnesses.clone();
            change(&mut witnesses);
            verified(&job, bits, range, &witnesses)
        };
        assert_eq!(claim(&|witnesses| witnesses.swap(3, 4)), None);
        assert_eq!(claim(&|witnesses| witnesses[4] = witnesses[3]), None);
        // The last one is checked like the others.
        let no_witness = (witnesses[count - 1] + 1..4000).find(|&nonce| bits.check(&job.puzzle, nonce).is_none());
        assert_eq!(claim(&|witnesses| witnesses.extend(no_witness)), None);
        assert_eq!(verified(&job, bits, NonceRange::new(1000, witnesses[count - 1]), &witnesses), None);
        assert_eq!(verified(&job, bits, NonceRange::new(witnesses[0] + 1, 4000), &witnesses), None);
        assert_eq!(verified(&job, bits, NonceRange::new(0, 4000), &witnesses), None, "no nonce of the job");
        // With 0 bits every nonce is a witness, but no more than are kept can be told.
        let (all, most) = (WitnessBits::new(0).unwrap(), MAX_WITNESSES as u64);
        let nonces: Vec<_> = (1..=most + 1).collect();
        assert_eq!(verified(&job, all, NonceRange::new(1, most + 2), &nonces[1..]), Some(most));
        assert_eq!(verified(&job, all, NonceRange::new(1, most + 2), &nonces), None);
    }
}
