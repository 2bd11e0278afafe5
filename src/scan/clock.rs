//! The clock that kernels and thread counts are measured by.

use std::time::Duration;

/// The time that the calling thread has spent on a CPU: on a busy box, what other processes take does not count against a kernel. Where the
/// system does not tell it (other systems than Linux, or without the feature `priority`), the time since this was first called.
pub fn thread_time() -> Duration {
    #[cfg(all(target_os = "linux", feature = "priority"))]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    }
    #[cfg(not(all(target_os = "linux", feature = "priority")))]
    {
        use std::{sync::LazyLock, time::Instant};
        #[allow(clippy::disallowed_methods)] // measuring is what this time is for
        static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGIN.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_while_the_thread_computes() {
        let begin = thread_time();
        let mut number = 1u64;
        while thread_time() == begin {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert!(thread_time() > begin, "{number}");
    }

    #[cfg(all(target_os = "linux", feature = "priority"))]
    #[test]
    fn it_stands_still_while_the_thread_waits() {
        let begin = thread_time();
        std::thread::sleep(Duration::from_millis(50));
        let used = thread_time() - begin;
        let other = std::thread::spawn(|| while thread_time() < Duration::from_millis(30) {});
        let _ = other.join();
        assert!(thread_time() - begin < used + Duration::from_millis(30), "another thread's time does not count");
    }
}
