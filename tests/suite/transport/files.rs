//! The certificate files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use headframe::transport::files::{CertificateFileError, add_node, create_cluster, renew_node};
use headframe::transport::identity::{Identity, IdentityError};
use tempfile::TempDir;

use super::messages::id;
use super::quic::Files;

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_cluster_in_files_has_private_keys_and_can_be_extended() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("deep/certs");
    create_cluster(&dir, (1..=2).map(id), SystemTime::now()).unwrap();
    add_node(&dir, id(7), SystemTime::now()).unwrap();
    assert_eq!(mode(&dir), 0o700);
    for key in ["ca.key", "node-1.key", "node-2.key", "node-7.key"] {
        assert_eq!(mode(&dir.join(key)), 0o600, "{key}");
    }
    for node in [1, 2, 7] {
        assert_eq!(Identity::load(&dir, id(node), SystemTime::now()).unwrap().node(), id(node));
    }
    let missing = Identity::load(&dir, id(3), SystemTime::now()).unwrap_err();
    assert!(matches!(missing, CertificateFileError::Missing { .. }));
    assert!(missing.to_string().contains("headframe certs --nodes N --dir"));
}

#[test]
fn certificates_are_never_overwritten() {
    let files = Files::new();
    let content = || -> BTreeMap<_, _> {
        let entries = fs::read_dir(files.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    };
    let before = content();
    let again = create_cluster(files.path(), (1..=3).map(id), SystemTime::now());
    assert!(matches!(again, Err(CertificateFileError::Exists(_))));
    let again = add_node(files.path(), id(2), SystemTime::now());
    assert!(matches!(again, Err(CertificateFileError::Exists(_))));
    assert_eq!(content(), before);
}

/// Only root can give root's keys to a group: where the tests run as another user, a key of mode 0640 is refused.
#[test]
fn a_key_of_roots_may_be_read_by_a_group_of_this_process() {
    use std::os::unix::fs::MetadataExt;
    let files = Files::new();
    let key = files.path().join("node-1.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let is_roots = fs::metadata(&key).unwrap().uid() == 0;
    assert_eq!(Identity::load(files.path(), id(1), SystemTime::now()).is_ok(), is_roots);
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let files = Files::new();
    for (name, load) in [
        ("node-1.key", (|dir| Identity::load(dir, id(1), SystemTime::now()).map(|_| ())) as fn(&Path) -> _),
        ("ca.key", |dir| add_node(dir, id(8), SystemTime::now())),
    ] {
        let key = files.path().join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = load(files.path()).unwrap_err();
        assert!(matches!(error, CertificateFileError::Mode { mode: 0o644, .. }));
        assert!(error.to_string().contains(&format!("chmod 600 {}", key.display())));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        load(files.path()).unwrap();
    }
}

#[test]
fn files_that_do_not_belong_together_are_named() {
    let (files, others) = (Files::new(), Files::new());
    let load = |node| match Identity::load(files.path(), id(node), SystemTime::now()) {
        Err(CertificateFileError::Identity { cause, .. }) => cause,
        other => panic!("expected the identity to be refused, got {other:?}"),
    };
    let copy = |from: &Files, name: &str, to: &str| fs::copy(from.path().join(name), files.path().join(to)).unwrap();
    copy(&files, "node-2.key", "node-1.key");
    assert!(matches!(load(1), IdentityError::OtherKey));
    copy(&files, "node-2.pem", "node-1.pem");
    assert!(matches!(load(1), IdentityError::OtherNode { .. }));
    copy(&others, "node-3.pem", "node-3.pem");
    copy(&others, "node-3.key", "node-3.key");
    assert!(matches!(load(3), IdentityError::OtherCluster));
}

#[test]
fn a_renewed_node_has_new_files_that_are_good_for_longer() {
    let files = Files::new();
    let (begin, year) = (SystemTime::now(), Duration::from_secs(365 * 24 * 60 * 60));
    let ends = |now| Identity::load(files.path(), id(1), now).unwrap().ends();
    let content = || ["node-1.key", "node-1.pem"].map(|name| fs::read(files.path().join(name)).unwrap());
    let (first, old) = (ends(begin), content());
    fs::write(files.path().join("node-1.key.new"), "left by a crash").unwrap();
    renew_node(files.path(), id(1), begin + year).unwrap();
    assert!(old.iter().zip(&content()).all(|(old, new)| old != new));
    assert!(ends(begin + year) > first + year / 2);
    let names = fs::read_dir(files.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.ends_with(".new")));
    assert!(matches!(renew_node(files.path(), id(9), begin), Err(CertificateFileError::Missing { .. })));
}

#[test]
fn a_clock_before_2024_is_told() {
    let folder = TempDir::new().unwrap();
    let error = create_cluster(folder.path(), [id(1)], SystemTime::UNIX_EPOCH).unwrap_err().to_string();
    assert!(error.contains("set this machine's clock"), "{error}");
}

#[test]
fn a_cas_key_in_another_form_gets_the_command_that_converts_it() {
    let files = Files::new();
    let key = files.path().join("ca.key");
    let text = fs::read_to_string(&key).unwrap();
    for form in ["RSA ", "EC ", "ENCRYPTED "] {
        fs::write(&key, text.replace("BEGIN ", &format!("BEGIN {form}"))).unwrap();
        let error = add_node(files.path(), id(8), SystemTime::now()).unwrap_err().to_string();
        assert!(error.contains("openssl pkcs8 -topk8 -nocrypt -in ca.key"), "{error}");
    }
}
