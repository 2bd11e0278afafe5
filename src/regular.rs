//! Opens files by name, so that nothing a name may stand for holds the program up: a pipe that nobody writes to, a device without end.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Whether a name may be a symbolic link. In a folder that others can write to it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// Opens a regular file of at most `most` bytes.
///
/// # Errors
/// It cannot be opened, is no regular file, is longer, or is a link that is refused.
pub(crate) fn open(options: &mut OpenOptions, path: &Path, links: Links, most: u64) -> io::Result<File> {
    let links = if links == Links::Refused { OFlags::NOFOLLOW } else { OFlags::empty() };
    let file = options.custom_flags((OFlags::NONBLOCK | links).bits() as i32).open(path)?;
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true if metadata.len() <= most => Ok(file),
        true => Err(io::Error::other(format!("expected at most {most} bytes, got {}", metadata.len()))),
        false => Err(io::Error::other("expected a regular file, got a folder, a pipe or a device")),
    }
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// As for [`open`], or it is no UTF-8.
pub(crate) fn read(path: &Path, links: Links, most: u64) -> io::Result<String> {
    let mut text = String::new();
    let file = open(OpenOptions::new().read(true), path, links, most)?;
    match file.take(most + 1).read_to_string(&mut text)? as u64 {
        read if read <= most => Ok(text),
        _ => Err(io::Error::other(format!("expected at most {most} bytes, got more"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        std::fs::write(path("file"), "seven").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(read(&path("file"), Links::Refused, 5).unwrap(), "seven");
        assert_eq!(read(&path("link"), Links::Followed, 5).unwrap(), "seven");
        assert!(read(&path("link"), Links::Refused, 5).is_err());
        let too_long = read(&path("file"), Links::Followed, 4).unwrap_err().to_string();
        assert_eq!(too_long, "expected at most 4 bytes, got 5");
        for other in [&path("pipe"), folder.path(), Path::new("/dev/full"), Path::new("/dev/zero")] {
            let error = read(other, Links::Followed, 5).unwrap_err().to_string();
            assert!(error.contains("expected a regular file"), "{}: {error}", other.display());
        }
    }
}
