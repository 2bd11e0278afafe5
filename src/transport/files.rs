//! The certificate files: `headframe certs` writes them and a node reads them.
//!
//! ```text
//! ca.pem           the cluster's CA certificate; every node needs it
//! ca.key           its key, with which further nodes are made; keep it off the nodes
//! node-<id>.pem    a node's certificate
//! node-<id>.key    its key
//! ```
//!
//! The directory is made with mode 0700, keys with 0600; nothing is ever overwritten, and a key that others can read is
//! not used.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::identity::{ClusterCa, Identity, IdentityError};
use crate::cluster::NodeId;
use crate::regular::{self, Links};

/// The largest file that is read: real ones have less than 2 KiB.
const MAX_FILE: u64 = 64 * 1024;

/// So long before its certificate ends an operator is told.
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why a directory of certificates cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFileError {
    /// There is a file of that name already.
    #[error(
        "expected no file {0} yet: certificates are never overwritten; choose another directory or remove it first"
    )]
    Exists(PathBuf),
    /// A file is missing.
    #[error("expected a file {file}: make it with `headframe certs --nodes N --dir {dir}`, or --add for one node more")]
    Missing {
        /// The file.
        file: PathBuf,
        /// Its directory.
        dir: PathBuf,
    },
    /// A key can be read by others than its owner.
    #[error(
        "expected {file} to have mode 0600, or 0640 if it is root's and of a group of this process, got {mode:04o}: run `chmod 600 {file}`"
    )]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file's content cannot be used.
    #[error("{dir}: {cause}")]
    Identity {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        cause: IdentityError,
    },
    /// The system refused access to a file or directory.
    #[error("expected to read or write {file}: {cause}")]
    Io {
        /// The file or directory.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Makes a cluster in `dir`: a CA, and a key and certificate for each of `nodes`, valid from `now`.
///
/// # Errors
/// A file exists already or cannot be written, or a key or certificate cannot be made.
pub fn create_cluster(
    dir: &Path,
    nodes: impl IntoIterator<Item = NodeId>,
    now: SystemTime,
) -> Result<(), CertificateFileError> {
    create_dir(dir)?;
    let ca = ClusterCa::generate(now).map_err(in_dir(dir))?;
    // The key is written first: its presence shows that there is a cluster here already.
    create(&dir.join("ca.key"), &ca.key_pem(), 0o600)?;
    create(&dir.join("ca.pem"), ca.certificate_pem(), 0o644)?;
    nodes.into_iter().try_for_each(|node| write_node(dir, &ca, node, now))
}

/// Makes a key and certificate for one more node of the cluster in `dir`, valid from `now`.
///
/// # Errors
/// The CA's files are missing or of no use, a key can be read by others, or the node's files exist already or cannot be written.
pub fn add_node(dir: &Path, node: NodeId, now: SystemTime) -> Result<(), CertificateFileError> {
    write_node(dir, &read_ca(dir)?, node, now)
}

/// Replaces the key and certificate of a node of the cluster in `dir` by new ones, valid from `now`. A node that runs and finds
/// its files replaced takes them up for new connections.
///
/// # Errors
/// The CA's files are missing or of no use, the node has none, or the new ones cannot be written; the old ones then stay.
pub fn renew_node(dir: &Path, node: NodeId, now: SystemTime) -> Result<(), CertificateFileError> {
    let issued = read_ca(dir)?.issue_pem(node, now).map_err(in_dir(dir))?;
    let (certificate, key) = node_files(node);
    read_key(dir, &key)?;
    read(dir, &certificate)?;
    // Both are whole on the disk before either is replaced. What a crash in between leaves does not go together, and is refused until the
    // next renewal.
    for (name, text, mode) in [(&key, &issued.key, 0o600), (&certificate, &issued.certificate, 0o644)] {
        let new = dir.join(format!("{name}.new"));
        let _ = fs::remove_file(&new); // left by a renewal that was cut short
        create(&new, text, mode)?;
    }
    for name in [&key, &certificate] {
        let file = dir.join(name);
        let renamed = fs::rename(dir.join(format!("{name}.new")), &file);
        renamed.map_err(|cause| CertificateFileError::Io { file, cause })?;
    }
    Ok(())
}

impl Identity {
    /// The identity of `node` from the files in `dir`, checked as its peers will check it at the time `now`.
    ///
    /// # Errors
    /// A file is missing or cannot be read, the key can be read by others, or peers would refuse the identity.
    pub fn load(dir: &Path, node: NodeId, now: SystemTime) -> Result<Self, CertificateFileError> {
        let (certificate, key) = node_files(node);
        let (ca, certificate, key) = (read(dir, "ca.pem")?, read(dir, &certificate)?, read_key(dir, &key)?);
        Self::from_pem(node, &ca, &certificate, &key, now).map_err(in_dir(dir))
    }
}

/// That the certificate of `node` in `dir`, which ends at `ends` since 1970, does so within a month, and what to do.
pub fn near_end(dir: &Path, node: NodeId, ends: Duration, now: SystemTime) -> Option<String> {
    let left = ends.saturating_sub(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    (left < MONTH).then(|| {
        format!(
            "the certificate of node {node} in {dir} ends in {} days: run `headframe certs --renew {node} --dir {dir}` where the CA's key is, or make a new cluster if the CA's own ends",
            left.as_secs() / (24 * 60 * 60),
            dir = dir.display()
        )
    })
}

fn read_ca(dir: &Path) -> Result<ClusterCa, CertificateFileError> {
    let (certificate, key) = (read(dir, "ca.pem")?, read_key(dir, "ca.key")?);
    ClusterCa::from_pem(&certificate, &key).map_err(in_dir(dir))
}

/// The names of a node's certificate and key.
pub(crate) fn node_files(node: NodeId) -> (String, String) {
    (format!("node-{node}.pem"), format!("node-{node}.key"))
}

fn write_node(dir: &Path, ca: &ClusterCa, node: NodeId, now: SystemTime) -> Result<(), CertificateFileError> {
    let issued = ca.issue_pem(node, now).map_err(in_dir(dir))?;
    let (certificate, key) = node_files(node);
    create(&dir.join(key), &issued.key, 0o600)?;
    create(&dir.join(certificate), &issued.certificate, 0o644)
}

fn create_dir(dir: &Path) -> Result<(), CertificateFileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|cause| CertificateFileError::Io { file: dir.to_owned(), cause })
}

fn create(file: &Path, content: &str, mode: u32) -> Result<(), CertificateFileError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(content.as_bytes()).and_then(|()| opened.sync_all()));
    written.map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => CertificateFileError::Exists(file.to_owned()),
        _ => CertificateFileError::Io { file: file.to_owned(), cause },
    })
}

fn read(dir: &Path, name: &str) -> Result<String, CertificateFileError> {
    let file = dir.join(name);
    read_opened(open(dir, &file)?, file)
}

fn read_key(dir: &Path, name: &str) -> Result<String, CertificateFileError> {
    let file = dir.join(name);
    let opened = open(dir, &file)?;
    // The mode is that of the open file, so that the file that is checked is the one that is read.
    let metadata = opened.metadata().map_err(|cause| CertificateFileError::Io { file: file.clone(), cause })?;
    if !is_private(&metadata) {
        return Err(CertificateFileError::Mode { file, mode: metadata.mode() & 0o7777 });
    }
    read_opened(opened, file)
}

/// Whether nobody else can read the file: it is its owner's alone, or root's, who lets a group of this process read it.
fn is_private(metadata: &Metadata) -> bool {
    let is_own_group = |group: u32| {
        let groups = rustix::process::getgroups().unwrap_or_default();
        groups.into_iter().chain([rustix::process::getegid()]).any(|own| own.as_raw() == group)
    };
    match metadata.mode() & 0o077 {
        0 => true,
        0o040 => metadata.uid() == 0 && is_own_group(metadata.gid()),
        _ => false,
    }
}

fn open(dir: &Path, file: &Path) -> Result<File, CertificateFileError> {
    regular::open(OpenOptions::new().read(true), file, Links::IfSafe, MAX_FILE).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => CertificateFileError::Missing { file: file.to_owned(), dir: dir.to_owned() },
        _ => CertificateFileError::Io { file: file.to_owned(), cause },
    })
}

fn read_opened(opened: File, file: PathBuf) -> Result<String, CertificateFileError> {
    let mut content = String::new();
    let read = opened.take(MAX_FILE).read_to_string(&mut content);
    read.map(|_| content).map_err(|cause| CertificateFileError::Io { file, cause })
}

fn in_dir(dir: &Path) -> impl Fn(IdentityError) -> CertificateFileError {
    move |cause| CertificateFileError::Identity { dir: dir.to_owned(), cause }
}
