//! `--affinity`: whether hashing threads are pinned to CPUs, and to which.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;

use serde::Deserialize;

use super::usage;
use crate::node::{CpuUse, Registration, Registry};
use crate::scan::{Threads, usable_cpus};

/// What the user wants of pinning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Affinity {
    /// No thread is pinned.
    #[default]
    Off,
    /// Each thread is pinned to a CPU that no registered server uses.
    Choose,
    /// The threads are pinned to these CPUs, which this process may use.
    Cpus(Vec<usize>),
}

/// An affinity as it may stand in a config file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Switch(bool),
    Text(String),
}

impl TryFrom<Written> for Affinity {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Switch(is_on) => is_on.to_string().parse(),
            Written::Text(text) => text.parse(),
        }
    }
}

impl FromStr for Affinity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "true" => Ok(Self::Choose),
            "false" => Ok(Self::Off),
            list => cpus(list, &usable_cpus()).map(Self::Cpus),
        }
    }
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("false"),
            Self::Choose => f.write_str("true"),
            Self::Cpus(cpus) => f.write_str(&list(cpus)),
        }
    }
}

/// CPUs as they are written in a list, in the order in which they stand.
fn cpus(text: &str, usable: &[usize]) -> Result<Vec<usize>, String> {
    let expected = || format!("expected CPUs like 2-5,8, or true or false, got {text:?}");
    let mut cpus = Vec::new();
    let mut seen = BTreeSet::new();
    for item in text.split(',').map(str::trim) {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let number = |digits: &str| digits.trim().parse::<usize>().map_err(|_| expected());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("expected the lower CPU first, like {last}-{first}, got {item:?}"));
        }
        for cpu in first..=last {
            if !usable.contains(&cpu) {
                return Err(format!("this process may not use CPU {cpu}, only {}: name some of these", list(usable)));
            }
            if !seen.insert(cpu) {
                return Err(format!("CPU {cpu} is named twice in {text:?}: name each CPU once"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

/// CPUs as a list that can be read again: neighbours as `first-last`.
pub(super) fn list(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|&a, &b| a + 1 == b);
    let runs = runs.map(|run| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => run.iter().map(usize::to_string).collect(),
    });
    runs.collect::<Vec<_>>().join(",")
}

impl Affinity {
    /// Looks whether `count` threads, which the user asked for, have a CPU each.
    ///
    /// # Errors
    /// When there are fewer CPUs in the list than threads.
    pub(super) fn check(&self, count: NonZeroUsize) -> anyhow::Result<()> {
        match self {
            Self::Cpus(cpus) if cpus.len() < count.get() => Err(usage(format_args!(
                "--affinity {self}: expected a CPU for each of {count} threads, got {}; name more CPUs, or --threads {}",
                cpus.len(),
                cpus.len()
            ))),
            _ => Ok(()),
        }
    }

    /// Pins the threads of servers that start together, and names their CPUs in the registry. Without a list, they get the CPUs that the
    /// fewest registered servers use. Whoever shares a CPU with another server is warned.
    pub(super) fn pin<'a>(
        &self,
        registry: Option<&Registry>,
        servers: impl IntoIterator<Item = (&'a mut Threads, Option<&'a mut Registration>)>,
    ) {
        if *self == Self::Off {
            return;
        }
        let servers: Vec<_> = servers.into_iter().collect();
        let count = servers.iter().map(|(threads, _)| threads.count.get()).sum();
        // No other server chooses until all these CPUs stand in the registry.
        let in_use = registry.map(Registry::cpu_use).unwrap_or_default();
        let cpus = match self {
            Self::Cpus(cpus) => cpus.iter().copied().cycle().take(count).collect(),
            _ => in_use.choose(&usable_cpus(), count),
        };
        if let Some(problem) = self.crowd(&cpus, &in_use) {
            tracing::warn!("{problem}");
        }
        let mut cpus = cpus.into_iter();
        for (threads, registration) in servers {
            threads.cpus = cpus.by_ref().take(threads.count.get()).collect();
            if let Some(Err(problem)) = registration.map(|registration| registration.set_cpus(threads.cpus.clone())) {
                tracing::warn!("other servers cannot see which CPUs this one uses: {problem}");
            }
        }
    }

    /// What is wrong with these CPUs, one for each thread: a CPU has several threads, or another server's.
    fn crowd(&self, cpus: &[usize], in_use: &CpuUse) -> Option<String> {
        let all: BTreeSet<_> = cpus.iter().copied().collect();
        let taken: Vec<_> = all.iter().copied().filter(|&cpu| !in_use.servers(cpu).is_empty()).collect();
        let others: BTreeSet<_> = taken.iter().flat_map(|&cpu| in_use.servers(cpu)).collect();
        let others: Vec<_> = others.into_iter().map(ToString::to_string).collect();
        let cure = match self {
            Self::Cpus(_) => "name more or other CPUs with --affinity, or fewer threads with --threads",
            _ => "use fewer --threads, or end a server",
        };
        if !taken.is_empty() {
            let (taken, others) = (list(&taken), others.join(", "));
            return Some(format!("CPU {taken}: hashing threads of server {others} are pinned there, too; {cure}"));
        }
        let (threads, cpus) = (cpus.len(), all.len());
        (cpus < threads).then(|| format!("{threads} hashing threads share {cpus} CPUs; {cure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USABLE: [usize; 7] = [0, 2, 3, 4, 5, 7, 8];

    #[test]
    fn lists_are_read_and_written() {
        for (text, numbers, written) in [
            ("2-5,8", vec![2, 3, 4, 5, 8], "2-5,8"),
            ("0", vec![0], "0"),
            ("8, 2-3", vec![8, 2, 3], "8,2-3"),
            ("7-7,8", vec![7, 8], "7-8"),
        ] {
            let read = cpus(text, &USABLE).unwrap();
            assert_eq!((&read, list(&read).as_str()), (&numbers, written));
        }
        assert_eq!("true".parse(), Ok(Affinity::Choose));
        assert_eq!("false".parse(), Ok(Affinity::Off));
    }

    #[test]
    fn wrong_lists_are_refused_with_the_reason() {
        for (text, told) in [
            ("", "expected CPUs like 2-5,8, or true or false, got \"\""),
            ("2,,3", "expected CPUs like 2-5,8"),
            ("2-", "expected CPUs like 2-5,8"),
            ("-1", "expected CPUs like 2-5,8"),
            ("all", "expected CPUs like 2-5,8"),
            ("99999999999999999999", "expected CPUs like 2-5,8"),
            ("5-2", "expected the lower CPU first, like 2-5, got \"5-2\""),
            ("2-4,3", "CPU 3 is named twice in \"2-4,3\""),
            ("0-3", "this process may not use CPU 1, only 0,2-5,7-8"),
            ("8-9999999999", "this process may not use CPU 9, only 0,2-5,7-8"),
        ] {
            let problem = cpus(text, &USABLE).unwrap_err();
            assert!(problem.contains(told), "{text:?}: {problem}");
        }
    }

    #[test]
    fn a_list_has_a_cpu_for_each_thread_that_was_asked_for() {
        let count = |count| NonZeroUsize::new(count).unwrap();
        let two = Affinity::Cpus(vec![3, 4]);
        two.check(count(2)).unwrap();
        Affinity::Choose.check(count(200)).unwrap();
        let problem = two.check(count(3)).unwrap_err();
        assert!(problem.is::<super::super::Usage>());
        assert!(
            problem.to_string().contains("--affinity 3-4: expected a CPU for each of 3 threads, got 2"),
            "{problem}"
        );
    }

    #[test]
    fn servers_get_cpus_of_their_own_which_the_registry_names() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let register = |id: u32| registry.register(id.try_into().unwrap(), ([127, 0, 0, 1], 1).into(), 5).unwrap();
        let mut threads = [1, 1].map(|count| Threads::from(NonZeroUsize::new(count).unwrap()));
        let mut servers = [1, 2].map(register);
        let cpu = usable_cpus()[0];
        let list = Affinity::Cpus(vec![cpu]);
        list.pin(Some(&registry), threads.iter_mut().zip(servers.iter_mut().map(Some)));
        assert_eq!(threads.each_ref().map(|threads| &threads.cpus[..]), [[cpu], [cpu]]);
        let named: Vec<_> = registry.servers().unwrap().into_iter().map(|entry| entry.cpus).collect();
        assert_eq!(named, [[cpu], [cpu]]);

        let in_use = registry.cpu_use();
        let crowd = |affinity: &Affinity, cpus: &[usize]| affinity.crowd(cpus, &in_use).unwrap_or_default();
        let problem = crowd(&list, &[cpu]);
        assert!(problem.contains(&format!("CPU {cpu}: hashing threads of server 1, 2 are pinned there")), "{problem}");
        assert!(problem.contains("name more or other CPUs with --affinity"), "{problem}");
        assert!(crowd(&Affinity::Choose, &[5000, 5000]).contains("2 hashing threads share 1 CPUs"));
        assert_eq!(crowd(&Affinity::Choose, &[5000, 5001]), "");
    }
}
