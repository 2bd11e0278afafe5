//! Which CPUs hashing threads may use, and how one is pinned to a CPU (Linux, with the feature `priority`).

/// The numbers of the CPUs that the calling thread may use, ascending, as the system counts them from 0. Where the system does not tell,
/// these are as many as it has.
pub fn usable_cpus() -> Vec<usize> {
    #[cfg(all(target_os = "linux", feature = "priority"))]
    if let Ok(allowed) = rustix::thread::sched_getaffinity(None) {
        return (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    }
    (0..std::thread::available_parallelism().map_or(1, Into::into)).collect()
}

/// Pins the calling thread to one CPU. Where the system refuses, the thread stays unpinned.
pub(super) fn pin(cpu: usize) {
    #[cfg(all(target_os = "linux", feature = "priority"))]
    if cpu < rustix::thread::CpuSet::MAX_CPU {
        let mut one = rustix::thread::CpuSet::new();
        one.set(cpu);
        let _ = rustix::thread::sched_setaffinity(None, &one);
    }
    #[cfg(not(all(target_os = "linux", feature = "priority")))]
    let _ = cpu;
}
