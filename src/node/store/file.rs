//! The store's file: one JSON document, always whole.
//!
//! ```text
//! FILE        {"format":"headframe solutions","version":2,"sha256":"…","solutions":[…]}
//! FILE.new    the next one while it is written: fsync, rename over FILE, fsync of the folder
//! FILE.lock   locked by the node that has FILE until its process ends, however that ends; its content means nothing
//! ```
//!
//! The digest is that of the solutions' JSON without white space.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cluster::MAX_KEPT;
use crate::regular::{self, Links};
use crate::work::{Digest, Solution, reference};

/// The largest file that is read: 64 solutions have less than 64 KiB.
const MAX_FILE: u64 = 1 << 20;

const FORMAT: &str = "headframe solutions";
const VERSION: u32 = 2;

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another node uses the store.
    #[error("the store {} is in use by another node; stop that one, or name another file", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The system does not open the file: it is a folder, access is denied, or there is no such folder.
    #[error("cannot use the store {}: {reason}; expected a file in a folder that can be written to", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The file holds something else, or is damaged.
    #[error(
        "expected a node's solutions in {}, found {found}; it was left as it is: name another file, or move this one away",
        path.display()
    )]
    NotSolutions {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
    },
}

/// The document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    version: u32,
    sha256: Digest,
    solutions: Vec<Solution>,
}

impl Document {
    fn new(solutions: Vec<Solution>) -> serde_json::Result<Self> {
        let sha256 = digest(&solutions)?;
        Ok(Self { format: FORMAT.to_owned(), version: VERSION, sha256, solutions })
    }
}

fn digest(solutions: &[Solution]) -> serde_json::Result<Digest> {
    serde_json::to_vec(solutions).map(|json| reference::sha256(&json))
}

/// The fields that the documents of all versions have.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// A store's file, and the right to write it.
#[derive(Debug)]
pub(in crate::node) struct SolutionFile {
    path: PathBuf,
    /// Locked until this is dropped.
    _lock: File,
}

impl SolutionFile {
    /// Locks the file, which need not exist yet, and gives the solutions in it.
    pub(in crate::node) fn open(path: &Path) -> Result<(Self, Vec<Solution>), StoreError> {
        let unusable = |reason| StoreError::Unusable { path: path.to_owned(), reason };
        if path.file_name().is_none() {
            return Err(unusable(io::Error::other("it names no file")));
        }
        // The path is the one that a link leads to: a rename would replace the link, and a file must have one lock under all its names.
        let target = regular::target(path).map_err(unusable)?;
        match fs::metadata(&target) {
            Ok(found) if !found.is_file() => return Err(unusable(io::Error::other("it is no file"))),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = regular::open(&mut options, &beside(&target, ".lock"), Links::Refused, MAX_FILE);
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
        }
        let mut content = Vec::new();
        let solutions = match regular::open(OpenOptions::new().read(true), &target, Links::IfSafe, u64::MAX)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content))
        {
            Ok(_) => parse(&content).map_err(|found| StoreError::NotSolutions { path: path.to_owned(), found })?,
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(reason) => return Err(unusable(reason)),
        };
        Ok((Self { path: target, _lock: lock }, solutions))
    }

    /// Makes the file hold these solutions and no others. On success they are on disk; on failure the file holds either them or what it
    /// held before.
    pub(in crate::node) fn replace(&self, solutions: &[Solution]) -> io::Result<()> {
        let mut text = serde_json::to_vec(&Document::new(solutions.to_vec())?)?;
        text.push(b'\n');
        let new = beside(&self.path, ".new");
        match fs::remove_file(&new) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => return Err(problem),
            _ => {} // none, or one that was left when a node was killed
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        match File::open(regular::folder_of(&self.path)).and_then(|folder| folder.sync_all()) {
            // A file system that cannot sync a folder does not need that.
            Err(problem) if !matches!(problem.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
                Err(problem)
            }
            _ => Ok(()),
        }
    }
}

/// The solutions in a document; as an error, what the content is instead.
fn parse(content: &[u8]) -> Result<Vec<Solution>, String> {
    if content.is_empty() {
        return Err("an empty file".to_owned());
    }
    if content.len() as u64 > MAX_FILE {
        return Err(format!("more than {MAX_FILE} bytes"));
    }
    let head: Head = serde_json::from_slice(content).map_err(|error| format!("something else ({error})"))?;
    let Head { format, version } = head;
    if format != FORMAT {
        let format: String = format.chars().take(40).collect();
        return Err(format!("the format {format:?} instead of {FORMAT:?}"));
    }
    if version != VERSION {
        return Err(format!("version {version}, where this program knows version {VERSION}"));
    }
    let damaged = |error: serde_json::Error| format!("a damaged file ({error})");
    let document: Document = serde_json::from_slice(content).map_err(damaged)?;
    let solutions = document.solutions;
    if digest(&solutions).map_err(damaged)? != document.sha256 {
        return Err("a damaged file (its sha256 is that of others)".to_owned());
    }
    if solutions.len() > MAX_KEPT {
        return Err(format!("{} of them, where a node keeps {MAX_KEPT} at most", solutions.len()));
    }
    match solutions.iter().find(|solution| solution.verify().is_none()) {
        Some(wrong) => {
            Err(format!("one that is none (nonce {} of height {})", wrong.nonce, wrong.job.round.block.height))
        }
        None => Ok(solutions),
    }
}

/// The path with something after its name.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::work::fixtures::{self, check_job};
    use crate::work::{Job, Search, Target};

    /// A folder for a store named `solutions`.
    pub(in super::super) struct Folder(tempfile::TempDir);

    impl Folder {
        pub(in super::super) fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        pub(in super::super) fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        pub(in super::super) fn store(&self) -> PathBuf {
            self.path("solutions")
        }
    }

    /// The first solutions of one zero of the check text.
    pub(in super::super) fn solutions(count: usize) -> Vec<Solution> {
        let mut job = check_job(1, Search::First);
        job.round.block.height = 7;
        (1..).filter(|&nonce| job.check(nonce).is_some()).take(count).map(|nonce| Solution { job, nonce }).collect()
    }

    /// Bitcoin's first block, as a share.
    fn genesis() -> Solution {
        let header = fixtures::genesis();
        let target = Target::from_bits(header.bits).unwrap();
        Solution { job: Job::new(fixtures::header(0), target, Search::Every), nonce: header.nonce.into() }
    }

    fn open(path: &Path) -> Result<Vec<Solution>, StoreError> {
        SolutionFile::open(path).map(|(_, solutions)| solutions)
    }

    fn write(path: &Path, solutions: &[Solution]) {
        SolutionFile::open(path).unwrap().0.replace(solutions).unwrap();
    }

    /// What this version writes; later ones have to read it.
    const WRITTEN: &str = r#"{"format":"headframe solutions","version":2,
        "sha256":"35fcdd6c30990aa4643cc90267939cfd41bf7dc15b1bdc4d7bbc2958e88269dd","solutions":[
        {"job":{"round":{"block":{"height":7,"hash":"00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db"},
        "generation":0},
        "goal":{"block":[15,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,
        255,255,255,255,255],
        "report":[15,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,
        255,255,255],
        "search":"First"},"puzzle":{"Text":{"prev":"00000004fa2ebde0680a0434362269685583b246878644b1e6075b4f69f1d5db",
        "timestamp":"1550766000000","hashing":"double"}},"tag":{"template":0,"slot":{"run":0,"n":0}}},"nonce":2},
        {"job":{"round":{"block":{"height":0,"hash":"0000000000000000000000000000000000000000000000000000000000000000"},
        "generation":0},
        "goal":{"block":[0,0,0,0,255,255,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],
        "report":[0,0,0,0,255,255,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],
        "search":"Every"},"puzzle":{"Header":{"header":{"version":1,
        "prev_blockhash":"0000000000000000000000000000000000000000000000000000000000000000",
        "merkle_root":"3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a","time":1231006505,"bits":486604799,
        "nonce":2083236893},"version_mask":0}},"tag":{"template":0,"slot":{"run":0,"n":0}}},"nonce":2083236893}]}"#;

    #[test]
    fn the_format_stays() {
        let folder = Folder::new();
        let both = [solutions(1), vec![genesis()]].concat();
        write(&folder.store(), &both);
        let written: String = WRITTEN.lines().map(str::trim_start).collect();
        assert_eq!(fs::read_to_string(folder.store()).unwrap(), written + "\n");
        fs::write(folder.store(), WRITTEN).unwrap();
        assert_eq!(open(&folder.store()).unwrap(), both);
    }

    #[test]
    fn what_is_none_is_said_and_left_as_it_is() {
        let folder = Folder::new();
        write(&folder.store(), &solutions(2));
        let whole = fs::read_to_string(folder.store()).unwrap();
        let json = |solutions: Vec<Solution>| serde_json::to_string(&Document::new(solutions).unwrap()).unwrap();
        let none = Solution { nonce: 3, ..solutions(1)[0] };
        for (text, told) in [
            ("", "an empty file"),
            ("dear reader", "something else"),
            (&whole[..whole.len() / 2], "something else (EOF"),
            (&whole.replace("solutions\",\"v", "chain\",\"v"), "the format \"headframe chain\" instead of"),
            (&whole.replace("\"version\":2", "\"version\":3"), "version 3, where this program knows version 2"),
            (&whole.replace("\"height\"", "\"depth\""), "a damaged file (missing field `height`"),
            (&whole.replace("\"height\":7", "\"height\":8"), "a damaged file (its sha256"),
            (&json(vec![none]), "one that is none (nonce 3 of height 7)"),
            (&json(solutions(65)), "65 of them, where a node keeps 64 at most"),
            (&" ".repeat(MAX_FILE as usize + 1), "more than 1048576 bytes"),
        ] {
            fs::write(folder.store(), text).unwrap();
            let error = open(&folder.store()).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("name another file"), "expected {told:?} in {error}");
            assert_eq!(fs::read_to_string(folder.store()).unwrap(), text);
        }
    }

    #[test]
    fn no_cut_and_no_flipped_bit_is_taken_for_a_whole_file() {
        let folder = Folder::new();
        write(&folder.store(), &solutions(2));
        let whole = fs::read(folder.store()).unwrap();
        for length in 0..whole.len() - 1 {
            fs::write(folder.store(), &whole[..length]).unwrap();
            assert!(matches!(open(&folder.store()), Err(StoreError::NotSolutions { .. })), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(folder.store(), &flipped).unwrap();
            assert!(matches!(open(&folder.store()), Err(StoreError::NotSolutions { .. })), "byte {at}");
        }
    }

    #[test]
    fn a_file_has_one_owner_whatever_it_is_called_and_is_nobody_elses_to_read() {
        let folder = Folder::new();
        let link = folder.path("link");
        write(&folder.store(), &solutions(1));
        symlink(folder.store(), &link).unwrap();
        let (file, _) = SolutionFile::open(&link).unwrap();
        for name in [folder.store(), link.clone()] {
            assert!(matches!(open(&name), Err(StoreError::Locked { .. })), "{name:?}");
        }
        fs::set_permissions(folder.store(), PermissionsExt::from_mode(0o644)).unwrap();
        file.replace(&solutions(2)).unwrap();
        drop(file);
        assert!(link.is_symlink());
        assert_eq!(open(&folder.store()).unwrap(), solutions(2));
        for name in ["solutions", "solutions.lock"] {
            assert_eq!(fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        assert!(!folder.path("solutions.new").exists());
    }

    #[test]
    fn what_a_killed_node_left_half_written_is_of_no_account() {
        let folder = Folder::new();
        write(&folder.store(), &solutions(1));
        fs::write(folder.path("solutions.new"), "{\"format\":").unwrap();
        assert_eq!(open(&folder.store()).unwrap(), solutions(1));
        write(&folder.store(), &solutions(2));
        assert_eq!(open(&folder.store()).unwrap(), solutions(2));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = Folder::new();
        fs::create_dir(folder.store()).unwrap();
        for path in [folder.store(), folder.path("no/such"), "/dev/null".into(), "".into(), "..".into()] {
            let error = open(&path).unwrap_err();
            assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
        }
    }

    #[test]
    fn a_lock_that_is_a_pipe_or_a_link_is_refused_and_nothing_is_made_through_it() {
        let folder = Folder::new();
        let lock = folder.path("solutions.lock");
        regular::tests::make_pipe(&lock);
        let refused = || assert!(matches!(open(&folder.store()), Err(StoreError::Unusable { .. })));
        refused();
        fs::remove_file(&lock).unwrap();
        symlink(folder.path("elsewhere"), &lock).unwrap();
        refused();
        assert!(!folder.path("elsewhere").exists());
    }

    #[test]
    fn a_store_is_not_used_through_a_link_that_others_could_have_put_there() {
        let (folder, open_folder) = (Folder::new(), Folder::new());
        write(&folder.store(), &solutions(1));
        symlink(folder.store(), open_folder.store()).unwrap();
        assert_eq!(open(&open_folder.store()).unwrap(), solutions(1));
        regular::tests::open_to_all(open_folder.0.path());
        assert!(matches!(open(&open_folder.store()), Err(StoreError::Unusable { .. })));
    }
}
