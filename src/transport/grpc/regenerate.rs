//! `wire.rs` is generated and checked in, so that a build needs neither protoc nor a generator. Here it is generated again and compared.

use std::fs;
use std::path::Path;

/// Set to anything, it has the test write the file instead of comparing it.
const WRITE: &str = "HEADFRAME_WRITE_WIRE";

const HEAD: &str = "// Generated from headframe.proto by regenerate.rs, which also says how to write it anew. Do not edit it by hand.\n\n";

/// The interface as Rust, without comments: those stand in the `.proto`.
fn generate(folder: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([folder.join("headframe.proto")], [folder]).unwrap();
    // Boxed: otherwise an empty job, two bytes on the wire, would take hundreds in memory while a message is read.
    let boxed = ["Solution.job", "Job.round", "Job.goal", "Job.tag"].map(|field| format!(".headframe.v1.{field}"));
    let builder = tonic_prost_build::configure().build_transport(false).disable_comments(["."]);
    let builder = boxed.iter().fold(builder, tonic_prost_build::Builder::boxed);
    builder.emit_rerun_if_changed(false).out_dir(out.path()).compile_fds(descriptors).unwrap();
    HEAD.to_owned() + &fs::read_to_string(out.path().join("headframe.v1.rs")).unwrap()
}

#[test]
fn the_checked_in_code_is_what_the_interface_generates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/transport/grpc");
    let (file, generated) = (folder.join("wire.rs"), generate(&folder));
    if std::env::var_os(WRITE).is_some() {
        fs::write(&file, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&file).unwrap() == generated,
        "expected wire.rs to be what headframe.proto generates: run `{WRITE}=1 cargo test --lib transport::grpc::regenerate`, and check the result in"
    );
}
