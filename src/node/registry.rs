//! The servers of this machine: a folder in which each puts its address, and where the others find it.
//!
//! Each server has one file `<id>.json`, and holds a lock on it for as long as it lives. A lock ends with its process however that ends. So
//! a file without a lock was left behind by a killed server, and whoever reads the registry next removes it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Status;
use crate::cluster::NodeId;
use crate::regular::{self, Links};

/// The transports of servers that name none.
fn usual() -> Vec<String> {
    vec!["quic".to_owned()]
}

/// The largest file of a server, in bytes.
const MAX_ENTRY: u64 = 64 * 1024;

/// What a server's file says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The server's id.
    pub id: NodeId,
    /// Where the others reach it.
    pub address: SocketAddr,
    /// The id of its process.
    pub pid: u32,
    /// When it started, in seconds since 1970.
    pub since: u64,
    /// The transports by which the others reach it.
    #[serde(default = "usual")]
    pub transports: Vec<String>,
    /// The CPUs that its hashing threads are pinned to; none if they are not pinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<usize>,
    /// The status that it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Another live server has the id.
    #[error(
        "server {id} is running on this machine already (process {pid}, {address}); \
         choose another id, or another registry with HEADFRAME_RUN_DIR"
    )]
    Taken {
        /// The id.
        id: NodeId,
        /// The other server's process id, or `unknown`.
        pid: String,
        /// The other server's address, or `unknown`.
        address: String,
    },
    /// The folder belongs to somebody else or others may write to it.
    #[error(
        "{0}: expected a folder that only this user can write to (mode 0700); remove it, or name another with HEADFRAME_RUN_DIR"
    )]
    Unsafe(PathBuf),
    /// The system refused access to a file or to the folder.
    #[error("{path}: {problem}")]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        problem: io::Error,
    },
}

/// The folder of this machine's servers.
#[derive(Clone, Debug)]
pub struct Registry {
    folder: PathBuf,
    /// The transports of the servers that register with it.
    transports: Vec<String>,
}

/// A server's own place in the registry. Dropping it removes the file.
#[derive(Debug)]
pub struct Registration {
    path: PathBuf,
    file: File,
    entry: Entry,
}

impl Registry {
    /// The folder that the environment names: `$HEADFRAME_RUN_DIR`, else `$XDG_RUNTIME_DIR/headframe`, else `headframe-<uid>` in the
    /// system's temporary folder. Created with mode 0700 if it is not there.
    ///
    /// # Errors
    /// As for [`Registry::at`].
    pub fn open() -> Result<Self, RegistryError> {
        let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = named("HEADFRAME_RUN_DIR")
            .or_else(|| named("XDG_RUNTIME_DIR").map(|folder| folder.join("headframe")))
            .unwrap_or_else(|| std::env::temp_dir().join(format!("headframe-{}", user())));
        Self::at(folder)
    }

    /// The registry in `folder`, which is created if it is not there.
    ///
    /// # Errors
    /// The folder cannot be created, belongs to somebody else, or others may write to it.
    pub fn at(folder: PathBuf) -> Result<Self, RegistryError> {
        match create_private(&folder) {
            Ok(()) if is_private(&folder) => Ok(Self { folder, transports: usual() }),
            Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => {
                Err(RegistryError::Io { path: folder, problem })
            }
            _ => Err(RegistryError::Unsafe(folder)), // also if it is there and is no folder
        }
    }

    /// The same registry for a server that is reached by these transports.
    pub fn speaking(self, transports: Vec<String>) -> Self {
        Self { transports, ..self }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes sure that a server can be registered, by a file that is made and removed. This blocks.
    ///
    /// # Errors
    /// No file can be made in the folder, as where it is mounted read-only.
    pub fn probe(&self) -> Result<(), RegistryError> {
        let path = self.folder.join(format!("probe-{}", std::process::id())); // no server's file: it does not end with .json
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let probed = made.and_then(|_| fs::remove_file(&path));
        probed.map_err(|problem| RegistryError::Io { path: self.folder.clone(), problem })
    }

    /// Registers a server that others reach at `address`; it started at `since`, in seconds since 1970. This may wait for up to a fifth of
    /// a second.
    ///
    /// # Errors
    /// A live server has the same id, or the file cannot be written.
    pub fn register(&self, id: NodeId, address: SocketAddr, since: u64) -> Result<Registration, RegistryError> {
        let path = self.folder.join(format!("{id}.json"));
        let io = |problem| RegistryError::Io { path: path.clone(), problem };
        // A reader may hold the lock for a moment to see whether the server lives; a live one holds it for good.
        for attempt in 0.. {
            let file = open_private(&path).map_err(io)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    let (pid, transports, cpus) = (std::process::id(), self.transports.clone(), Vec::new());
                    let entry = Entry { id, address, pid, since, transports, cpus, status: None };
                    let mut registration = Registration { path: path.clone(), file, entry };
                    registration.write().map_err(io)?;
                    return Ok(registration);
                }
                Ok(()) => {} // somebody removed the file in between
                Err(TryLockError::WouldBlock) if attempt < 10 => thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    let entry = read(&path);
                    let told = |tell: fn(&Entry) -> String| entry.as_ref().map_or("unknown".into(), tell);
                    return Err(RegistryError::Taken {
                        id,
                        pid: told(|entry| entry.pid.to_string()),
                        address: told(|entry| entry.address.to_string()),
                    });
                }
                Err(TryLockError::Error(problem)) => return Err(io(problem)),
            }
        }
        unreachable!("the loop returns")
    }

    /// The live servers that share a transport with those that register here, as [`Registry::servers`] has them.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn reached(&self) -> Result<Vec<Entry>, RegistryError> {
        let mut servers = self.servers()?;
        servers.retain(|entry| entry.transports.iter().any(|transport| self.transports.contains(transport)));
        Ok(servers)
    }

    /// The live servers, by id. Files of killed servers are removed. This reads files, so it blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn servers(&self) -> Result<Vec<Entry>, RegistryError> {
        let io = |problem| RegistryError::Io { path: self.folder.clone(), problem };
        let mut servers = Vec::new();
        for file in fs::read_dir(&self.folder).map_err(io)? {
            let path = file.map_err(io)?.path();
            if path.extension().is_some_and(|extension| extension == "json") && !remove_if_dead(&path) {
                servers.extend(read(&path));
            }
        }
        servers.sort_by_key(|entry| entry.id);
        Ok(servers)
    }
}

impl Entry {
    /// Since when the server has been silent, in seconds since 1970, if that is longer than three heartbeats and the two seconds that a busy
    /// machine may take to write a status. `now` is in seconds since 1970, too.
    pub fn silent_since(&self, now: u64) -> Option<u64> {
        let (at, heartbeat) = self.status.as_ref().map_or((self.since, 0.0), |status| (status.at, status.heartbeat));
        (now.saturating_sub(at) as f64 > 3.0 * heartbeat + 2.0).then_some(at)
    }
}

impl Registration {
    /// The entry that others read.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Names the CPUs that the server's hashing threads are pinned to. This writes a file, so it blocks.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_cpus(&mut self, cpus: Vec<usize>) -> Result<(), RegistryError> {
        self.entry.cpus = cpus;
        self.write().map_err(|problem| RegistryError::Io { path: self.path.clone(), problem })
    }

    /// Replaces the status in the server's entry. If the entry is gone, as after a logout that removed the folder, the server registers
    /// again. This writes a file, so it blocks.
    ///
    /// # Errors
    /// The file cannot be written, or another server has the id by now.
    pub fn set_status(&mut self, status: Status) -> Result<(), RegistryError> {
        self.entry.status = Some(status);
        if !is_at(&self.file, &self.path) {
            let folder = regular::folder_of(&self.path).to_owned();
            let Entry { id, address, since, .. } = self.entry;
            let (cpus, status) = (self.entry.cpus.clone(), self.entry.status.clone());
            let registry = Registry::at(folder)?.speaking(self.entry.transports.clone());
            *self = registry.register(id, address, since)?;
            (self.entry.cpus, self.entry.status) = (cpus, status);
        }
        self.write().map_err(|problem| RegistryError::Io { path: self.path.clone(), problem })
    }

    fn write(&mut self) -> io::Result<()> {
        let mut text = serde_json::to_vec(&self.entry)?;
        text.push(b'\n');
        // The file is written in place, since a new one would not carry the lock. A reader that meets a half-written entry tries again.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // While the file is there it is locked, so nobody else can have taken the place.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Reads an entry; again if its server was just writing it.
fn read(path: &Path) -> Option<Entry> {
    for _ in 0..5 {
        match regular::read(path, Links::Refused, MAX_ENTRY).map(|text| serde_json::from_str(&text)) {
            Ok(Ok(entry)) => return Some(entry),
            Ok(Err(_)) => thread::sleep(Duration::from_millis(5)),
            Err(_) => return None, // it is gone, or no server's file
        }
    }
    None
}

/// Removes the file of a server that was killed; true if it did.
fn remove_if_dead(path: &Path) -> bool {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let Ok(file) = regular::open(&mut options, path, Links::Refused, MAX_ENTRY) else { return false };
    let dead = file.try_lock().is_ok() && is_at(&file, path);
    if dead {
        let _ = fs::remove_file(path);
    }
    dead
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

fn create_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether the folder is this user's own and nobody else may write to it.
fn is_private(folder: &Path) -> bool {
    fs::symlink_metadata(folder)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user() && metadata.mode() & 0o022 == 0)
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    regular::open(&mut options, path, Links::Refused, MAX_ENTRY)
}

/// Whether `file` is still what `path` names, itself and not by a link.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::try_from(id).unwrap()
    }

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn registry() -> (tempfile::TempDir, Registry) {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        (folder, registry)
    }

    #[test]
    fn servers_list_those_that_they_can_reach() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::at(folder.path().join("run")).unwrap();
        let speaking = |names: &[&str]| registry.clone().speaking(names.iter().map(|&name| name.to_owned()).collect());
        let (usual, both, text) = (registry.clone(), speaking(&["grpc", "quic"]), speaking(&["udp"]));
        let address = "127.0.0.1:7701".parse().unwrap();
        let node = |id: u32| NodeId::try_from(id).unwrap();
        let _servers = [(1, &usual), (2, &both), (3, &text)].map(|(id, at)| at.register(node(id), address, 5).unwrap());
        let reached = |at: &Registry| at.reached().unwrap().iter().map(|entry| entry.id.get()).collect::<Vec<_>>();
        assert_eq!((reached(&usual), reached(&both), reached(&text)), (vec![1, 2], vec![1, 2], vec![3]));
        assert_eq!(reached(&speaking(&["grpc"])), [2]);
        assert_eq!(usual.servers().unwrap().len(), 3);
    }

    #[test]
    fn servers_are_listed_while_they_live() {
        let (_folder, registry) = registry();
        let second = registry.register(node(2), address(7702), 5).unwrap();
        let first = registry.register(node(1), address(7701), 6).unwrap();
        let ids = |registry: &Registry| registry.servers().unwrap().iter().map(|e| e.id.get()).collect::<Vec<_>>();
        assert_eq!(ids(&registry), [1, 2]);
        assert_eq!(registry.servers().unwrap()[1], *second.entry());
        drop(second);
        assert_eq!(ids(&registry), [1]);
        drop(first);
        assert_eq!(fs::read_dir(&registry.folder).unwrap().count(), 0);
    }

    #[test]
    fn an_id_is_taken_while_its_server_lives() {
        let (_folder, registry) = registry();
        let first = registry.register(node(1), address(7701), 5).unwrap();
        let refused = registry.register(node(1), address(7702), 6).unwrap_err().to_string();
        assert!(refused.contains("server 1 is running") && refused.contains("127.0.0.1:7701"), "{refused}");
        drop(first);
        registry.register(node(1), address(7702), 6).unwrap();
    }

    #[test]
    fn what_a_killed_server_left_is_removed() {
        let (_folder, registry) = registry();
        let left = registry.folder.join("3.json");
        fs::write(&left, r#"{"id":3,"address":"127.0.0.1:7703","pid":1,"since":0}"#).unwrap();
        assert_eq!(registry.servers().unwrap(), []);
        assert!(!left.exists());
        fs::write(&left, "half a fi").unwrap();
        let registration = registry.register(node(3), address(7703), 5).unwrap();
        assert_eq!(registry.servers().unwrap(), [registration.entry().clone()]);
    }

    fn status() -> Status {
        serde_json::from_str(
            r#"{"leader":1,"epoch":1,"height":7,"zeros":6,"kernel":"portable","choice":"","threads":1,"hashes":5,
                "hashes_per_second":1.0,"blocks":0,"peers":{},"at":9}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_server_whose_entry_is_gone_registers_again() {
        let (_folder, registry) = registry();
        let mut first = registry.register(node(1), address(7701), 5).unwrap();
        first.set_cpus(vec![3, 4]).unwrap();
        fs::remove_dir_all(&registry.folder).unwrap();
        first.set_status(status()).unwrap();
        assert_eq!(registry.servers().unwrap()[0].cpus, [3, 4]);
        assert_eq!(registry.servers().unwrap(), [first.entry().clone()]);
        assert_eq!(first.entry().status.as_ref().unwrap().height, Some(7));
        fs::remove_file(registry.folder.join("1.json")).unwrap();
        let other = registry.register(node(1), address(7702), 6).unwrap();
        assert!(matches!(first.set_status(status()), Err(RegistryError::Taken { .. })));
        drop(first);
        assert_eq!(registry.servers().unwrap(), [other.entry().clone()], "its place is the other's");
    }

    #[test]
    fn what_is_no_servers_file_is_passed_over() {
        let (folder, registry) = registry();
        let first = registry.register(node(1), address(7701), 5).unwrap();
        for id in 2..200 {
            fs::create_dir(registry.folder.join(format!("{id}.json"))).unwrap();
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, r#"{"id":201,"address":"127.0.0.1:7703","pid":1,"since":0}"#).unwrap();
        std::os::unix::fs::symlink(&elsewhere, registry.folder.join("201.json")).unwrap();
        assert_eq!(registry.servers().unwrap(), [first.entry().clone()]);
        assert!(registry.register(node(201), address(7703), 5).is_err(), "a link");
        assert!(registry.register(node(2), address(7702), 5).is_err(), "a folder");
    }

    #[test]
    fn a_folder_that_takes_no_files_is_found_by_a_probe_which_leaves_nothing() {
        let (_folder, registry) = registry();
        registry.probe().unwrap();
        assert_eq!(fs::read_dir(&registry.folder).unwrap().count(), 0);
        // Nobody can make files there, not even root.
        let full = Registry { folder: "/proc".into(), transports: vec![] };
        assert!(matches!(full.probe(), Err(RegistryError::Io { .. })));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(Registry::at(folder.path().into()), Err(RegistryError::Unsafe(_))));
    }
}
