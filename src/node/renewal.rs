//! Takes up renewed certificate files while the node runs, and tells what an operator should do about them. It runs in a task of its own, so
//! that nothing else waits for files.
//!
//! 1. The files are looked at every few seconds. Only if one of them is another than before are they read.
//! 2. A good certificate counts for new connections from then on. Present connections have proved who they are, and go on.
//! 3. Files that cannot be used at two looks in a row are told once, and the certificate in use stays. At one look they may be half copied.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::cluster::NodeId;
use crate::transport::Transport;
use crate::transport::files::{near_end, node_files};
use crate::transport::identity::Identity;

/// How often the files are looked at: three calls of the system each time.
const EVERY: Duration = Duration::from_secs(5);

const DAY: u64 = 24 * 60 * 60;

/// What tells a file from another one of the same name: device, inode, size, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

/// The CA's certificate, the node's and its key; none where there is no such file.
type Stamps = [Option<Stamp>; 3];

/// The certificate files of one node.
pub(super) struct Renewal {
    dir: PathBuf,
    node: NodeId,
    /// The files that were last seen, and whether they are in use or told as faulty.
    seen: Option<Stamps>,
    settled: bool,
    /// When the certificate in use ends, since 1970.
    ends: Duration,
    /// What is wrong with the files, and that the certificate in use ends soon.
    fault: Option<String>,
    near_end: Option<String>,
    every: Duration,
}

impl Renewal {
    pub(super) fn new(dir: PathBuf, node: NodeId) -> Self {
        Self { dir, node, seen: None, settled: false, ends: Duration::ZERO, fault: None, near_end: None, every: EVERY }
    }

    /// Looks at the files until the node has dropped its end. Sends what an operator should do whenever that changes.
    pub(super) async fn run(
        mut self,
        transport: Arc<dyn Transport>,
        now: fn() -> SystemTime,
        problems: mpsc::Sender<Option<String>>,
    ) {
        let mut told = None;
        self.ends = transport.certificate_ends().unwrap_or_default();
        while !problems.is_closed() {
            let transport = Arc::clone(&transport);
            let looked = spawn_blocking(move || {
                let problem = self.look(transport.as_ref(), now());
                (self, problem)
            });
            let Ok((back, problem)) = looked.await else { return };
            self = back;
            if problem != told {
                told.clone_from(&problem);
                let _ = problems.send(problem).await; // fails once the node has stopped
            }
            tokio::select! {
                () = problems.closed() => return,
                () = tokio::time::sleep(self.every) => {}
            }
        }
    }

    /// Looks at the files once, and has the transport take up new ones. Gives what an operator should do.
    fn look(&mut self, transport: &dyn Transport, now: SystemTime) -> Option<String> {
        let stamps = self.stamps();
        let is_first = self.seen.is_none();
        let is_same = self.seen.replace(stamps) == Some(stamps);
        if !(is_same && self.settled) {
            self.settled = is_same;
            match Identity::load(&self.dir, self.node, now).map_err(|error| error.to_string()).and_then(|identity| {
                transport.take_up(&identity).map_err(|error| error.to_string())?;
                Ok(identity)
            }) {
                Ok(identity) => {
                    if !is_first {
                        tracing::info!(
                            "node {}: new connections use the certificate that is new in {}",
                            self.node,
                            self.dir.display()
                        );
                    }
                    (self.settled, self.ends) = (true, identity.ends());
                    (self.fault, self.near_end) = (None, None);
                }
                Err(problem) if is_same => self.fault = Some(self.describe(&problem, now)),
                Err(_) => {} // they may be half copied
            }
        }
        if self.near_end.is_none() && !self.ends.is_zero() {
            self.near_end = near_end(&self.dir, self.node, self.ends, now);
        }
        self.fault.clone().or_else(|| self.near_end.clone())
    }

    fn describe(&self, problem: &str, now: SystemTime) -> String {
        let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let days = self.ends.saturating_sub(since_1970).as_secs() / DAY;
        format!(
            "the certificate files in {} have changed and cannot be used: {problem}; until they can, the old certificate stays in use, which ends in {days} days",
            self.dir.display()
        )
    }

    fn stamps(&self) -> Stamps {
        let (certificate, key) = node_files(self.node);
        ["ca.pem", &certificate, &key].map(|name| {
            let file = fs::metadata(self.dir.join(name)).ok()?;
            Some((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        })
    }
}

#[cfg(test)]
#[cfg(feature = "quic")]
mod tests {
    use super::*;
    use crate::transport::files::{create_cluster, renew_node};
    use crate::transport::quic::QuicTransport;

    fn node() -> NodeId {
        NodeId::try_from(1).unwrap()
    }

    /// A node 1 that was started at some time with its certificates.
    struct Site {
        folder: tempfile::TempDir,
        start: SystemTime,
        transport: QuicTransport,
        renewal: Renewal,
    }

    impl Site {
        #[allow(clippy::disallowed_methods)] // certificates have to be valid now
        fn new() -> Self {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let start = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs()); // certificates know whole seconds
            let folder = tempfile::tempdir().unwrap();
            create_cluster(folder.path(), [node()], start).unwrap();
            let identity = Identity::load(folder.path(), node(), start).unwrap();
            let listen = ([127, 0, 0, 1], 0).into();
            let transport = QuicTransport::bind(&identity, listen, Duration::from_secs(1)).unwrap();
            let renewal = Renewal::new(folder.path().to_owned(), node());
            Self { folder, start, transport, renewal }
        }

        /// What it finds so many days after its start.
        fn look(&mut self, day: u64) -> Option<String> {
            self.renewal.look(&self.transport, self.start + Duration::from_secs(day * DAY))
        }

        /// In how many days from its start the certificate ends that the transport shows.
        fn ends(&self) -> u64 {
            let start = self.start.duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (self.transport.certificate_ends().unwrap() - start).as_secs().div_ceil(DAY)
        }

        fn renew(&self, day: u64) {
            renew_node(self.folder.path(), node(), self.start + Duration::from_secs(day * DAY)).unwrap();
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_up() {
        let mut site = Site::new();
        assert_eq!((site.look(0), site.ends()), (None, 730));
        site.renew(100);
        assert_eq!((site.look(100), site.ends()), (None, 830));
        assert_eq!((site.look(100), site.ends()), (None, 830));
    }

    #[tokio::test]
    async fn files_that_stay_bad_are_told_once_and_the_old_certificate_stays() {
        let mut site = Site::new();
        site.look(0);
        let file = site.folder.path().join("node-1.pem");
        let good = fs::read(&file).unwrap();
        fs::write(&file, "half a").unwrap();
        assert_eq!(site.look(10), None, "it may be half copied");
        let told = site.look(10).unwrap();
        assert!(told.contains("expected a PEM file with a certificate") && told.contains("ends in 720 days"), "{told}");
        assert_eq!(site.look(11).as_ref(), Some(&told), "not in other words");
        fs::remove_file(&file).unwrap();
        site.look(11);
        assert!(site.look(11).unwrap().contains("expected a file"));
        assert_eq!(site.ends(), 730);
        fs::write(&file, good).unwrap();
        assert_eq!(site.look(11), None, "over");
    }

    #[tokio::test]
    async fn a_certificate_that_comes_to_its_end_is_told_once_until_it_is_renewed() {
        let mut site = Site::new();
        assert_eq!(site.look(699), None);
        let told = site.look(701).unwrap();
        assert!(told.contains("ends in 29 days: run `headframe certs --renew 1"), "{told}");
        assert_eq!(site.look(720), Some(told), "not in other words each day");
        site.renew(720);
        assert_eq!(site.look(720), None);
    }

    #[tokio::test]
    async fn changes_are_sent_until_the_node_has_stopped() {
        let Site { folder, transport, mut renewal, .. } = Site::new();
        renewal.every = Duration::from_millis(1);
        fs::remove_file(folder.path().join("node-1.key")).unwrap();
        let (problems, mut told) = mpsc::channel(1);
        #[allow(clippy::disallowed_methods)]
        let running = tokio::spawn(renewal.run(Arc::new(transport), SystemTime::now, problems));
        let problem = told.recv().await.unwrap();
        assert!(problem.is_some_and(|problem| problem.contains("node-1.key")));
        drop(told);
        running.await.unwrap();
    }
}
