//! Which CPUs the servers of this machine are pinned to, so that the next one takes others.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::thread;
use std::time::Duration;

use super::Registry;
use crate::cluster::NodeId;

/// How long a server waits for another one that is just choosing its CPUs, in steps of [`STEP`].
const STEPS: u32 = 50;
const STEP: Duration = Duration::from_millis(20);

/// The CPUs that live servers are pinned to. While this is held, no other server of this registry chooses.
#[derive(Debug, Default)]
pub struct CpuUse {
    servers: BTreeMap<usize, Vec<NodeId>>,
    _choosing: Option<File>,
}

impl Registry {
    /// The CPUs that the registered servers are pinned to. This reads files, and may wait for up to a second for another server that is
    /// choosing, so it blocks. A registry that cannot be read names no CPUs.
    pub fn cpu_use(&self) -> CpuUse {
        let choosing = File::open(self.folder()).ok().filter(lock);
        let mut servers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for entry in self.servers().unwrap_or_default() {
            entry.cpus.iter().for_each(|&cpu| servers.entry(cpu).or_default().push(entry.id));
        }
        CpuUse { servers, _choosing: choosing }
    }
}

impl CpuUse {
    /// The servers that are pinned to a CPU.
    pub fn servers(&self, cpu: usize) -> &[NodeId] {
        self.servers.get(&cpu).map_or(&[], Vec::as_slice)
    }

    /// CPUs for `count` threads: those of `usable` that the fewest servers are pinned to, the lowest first. If there are fewer CPUs than
    /// threads, it counts round and round.
    pub fn choose(&self, usable: &[usize], count: usize) -> Vec<usize> {
        let mut cpus = usable.to_vec();
        cpus.sort_by_key(|&cpu| (self.servers(cpu).len(), cpu));
        cpus.into_iter().cycle().take(count).collect()
    }
}

/// Locks the file; false if somebody else holds the lock all the time, or the system has no locks there.
fn lock(file: &File) -> bool {
    for _ in 0..STEPS {
        match file.try_lock() {
            Ok(()) => return true,
            Err(TryLockError::WouldBlock) => thread::sleep(STEP),
            Err(TryLockError::Error(_)) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    #[test]
    fn cpus_that_no_live_server_uses_come_first_and_then_the_least_used() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let usable = [2, 3, 5, 8];
        let register = |id: u32, count| {
            let mut server = registry.register(node(id), ([127, 0, 0, 1], 1).into(), 5).unwrap();
            let in_use = registry.cpu_use();
            server.set_cpus(in_use.choose(&usable, count)).unwrap();
            server
        };
        let first = register(1, 1);
        assert_eq!(first.entry().cpus, [2]);
        let second = register(2, 2);
        assert_eq!(second.entry().cpus, [3, 5]);
        let third = register(3, 2);
        assert_eq!(third.entry().cpus, [8, 2], "one is left, and one of those that one server uses");
        assert_eq!(registry.cpu_use().servers(2), [node(1), node(3)]);
        drop(second);
        assert_eq!(register(4, 3).entry().cpus, [3, 5, 8]);
        assert_eq!(CpuUse::default().choose(&usable, 5), [2, 3, 5, 8, 2]);
    }

    #[test]
    fn one_server_chooses_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let in_use = registry.cpu_use();
        let other = File::open(registry.folder()).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(in_use);
        other.try_lock().unwrap();
    }
}
