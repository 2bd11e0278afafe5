//! Opens files by name, so that nothing a name may stand for holds the program up: a pipe that nobody writes to, a device without end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, StatVfsMountFlags};
use rustix::io::Errno;

/// Whether a name may be a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// A link is followed, unless it is in a folder that others can write to: there it may be theirs.
    IfSafe,
    /// No link is followed.
    Refused,
}

/// Opens a regular file of at most `most` bytes.
///
/// # Errors
/// It cannot be opened, is no regular file, is longer, or is a link that is refused.
pub(crate) fn open(options: &mut OpenOptions, path: &Path, links: Links, most: u64) -> io::Result<File> {
    let is_refused = links == Links::Refused || can_others_write(folder_of(path));
    let no_links = if is_refused { OFlags::NOFOLLOW } else { OFlags::empty() };
    let opened = options.custom_flags((OFlags::NONBLOCK | no_links).bits() as i32).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) if links == Links::IfSafe && is_refused => unsafe_link(),
        Some(Errno::LOOP) if is_refused => io::Error::other("expected a regular file, got a symbolic link"),
        Some(Errno::NXIO) => not_regular(), // a pipe that nobody reads, opened for writing
        _ => error,
    })?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true if metadata.len() <= most => Ok(file),
        true => Err(io::Error::other(format!("expected at most {most} bytes, got {}", metadata.len()))),
        false => Err(not_regular()),
    }
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As for [`open`], or it is no UTF-8.
#[cfg(any(test, feature = "node", feature = "source"))]
pub(crate) fn read(path: &Path, links: Links, most: u64) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = open(OpenOptions::new().read(true), path, links, most)?;
    match file.take(most + 1).read_to_string(&mut text)? as u64 {
        read if read <= most => Ok(text),
        _ => Err(io::Error::other(format!("expected at most {most} bytes, got more"))),
    }
}

/// The path of the file that a name leads to: the name itself where it is no link, or there is no such file yet.
///
/// # Errors
/// The name is a link in a folder that others can write to.
#[cfg(any(test, feature = "node"))]
pub(crate) fn target(path: &Path) -> io::Result<std::path::PathBuf> {
    match path.is_symlink() && can_others_write(folder_of(path)) {
        true => Err(unsafe_link()),
        false => Ok(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
    }
}

/// The folder that a name is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether somebody other than this user and root can put a file into the folder. Nobody can where it is mounted read-only, as the secrets of
/// a container are, whatever its mode.
fn can_others_write(folder: &Path) -> bool {
    let is_read_only = || rustix::fs::statvfs(folder).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    let is_ours = |owner| owner == 0 || owner == rustix::process::geteuid().as_raw();
    fs::metadata(folder).is_ok_and(|found| (found.mode() & 0o022 != 0 || !is_ours(found.uid())) && !is_read_only())
}

fn unsafe_link() -> io::Error {
    io::Error::other(
        "expected no symbolic link in a folder that others can write to: name the file that it leads to, or run `chmod go-w` on the folder",
    )
}

fn not_regular() -> io::Error {
    io::Error::other("expected a regular file, got a folder, a pipe or a device")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// Makes a pipe that nobody reads or writes.
    pub(crate) fn make_pipe(path: &Path) {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }

    /// Lets everybody write to a folder.
    pub(crate) fn open_to_all(folder: &Path) {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("file"), "seven").unwrap();
        symlink(path("file"), path("link")).unwrap();
        make_pipe(&path("pipe"));
        assert_eq!(read(&path("file"), Links::Refused, 5).unwrap(), "seven");
        assert_eq!(read(&path("link"), Links::IfSafe, 5).unwrap(), "seven");
        assert!(read(&path("link"), Links::Refused, 5).is_err());
        let too_long = read(&path("file"), Links::IfSafe, 4).unwrap_err().to_string();
        assert_eq!(too_long, "expected at most 4 bytes, got 5");
        for other in [&path("pipe"), folder.path(), Path::new("/dev/full"), Path::new("/dev/zero")] {
            let error = read(other, Links::IfSafe, 5).unwrap_err().to_string();
            assert!(error.contains("expected a regular file"), "{}: {error}", other.display());
        }
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_opened_for_writing() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        make_pipe(&pipe);
        let error = open(OpenOptions::new().write(true), &pipe, Links::IfSafe, 5).unwrap_err().to_string();
        assert!(error.contains("expected a regular file"), "{error}");
    }

    #[test]
    fn a_link_is_not_followed_where_others_could_have_put_it() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, link) = (elsewhere.path().join("file"), folder.path().join("link"));
        fs::write(&file, "seven").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(read(&link, Links::IfSafe, 5).unwrap(), "seven");
        assert_eq!(target(&link).unwrap(), fs::canonicalize(&file).unwrap());
        let other = elsewhere.path().join("made");
        let dangling = folder.path().join("dangling");
        symlink(&other, &dangling).unwrap();
        open_to_all(folder.path());
        for refused in [
            read(&link, Links::IfSafe, 5).map(drop),
            target(&link).map(drop),
            open(OpenOptions::new().write(true).create(true).truncate(false), &dangling, Links::IfSafe, 5).map(drop),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("chmod go-w"), "{error}");
        }
        assert!(!other.exists(), "nothing is made through a link");
        fs::write(folder.path().join("own"), "seven").unwrap();
        assert_eq!(read(&folder.path().join("own"), Links::IfSafe, 5).unwrap(), "seven", "a file is read there");
    }
}
