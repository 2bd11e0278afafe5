//! Runs the program as its users do: real processes, a registry of their own, signals, what they print.

// Not every program that this is part of needs all of it; a test ends where it fails.
#![allow(dead_code, clippy::unwrap_used, clippy::disallowed_methods)]

pub(crate) mod check;
pub(crate) mod web;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

/// Nothing that works takes so long, however loaded the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// Users are promised an end within 2 s of a signal; a loaded machine gets more.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A registry without servers.
pub(crate) const NOBODY: [&str; 0] = [];

/// One machine: a working directory, a registry and an IP address that no other test uses.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    pub(crate) host: IpAddr,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal killed it.
    pub(crate) code: Option<i32>,
    /// Its standard output, or what nobody has read of it yet.
    pub(crate) out: String,
    pub(crate) err: String,
    /// From the question to the end.
    pub(crate) took: Duration,
}

/// A running process; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    err: Option<JoinHandle<String>>,
}

impl Site {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        Self { folder, host: own_host() }
    }

    /// One with certificates for the nodes 1 to `nodes` in its folder `certs`.
    pub(crate) fn with_certs(nodes: u32) -> Self {
        let site = Self::new();
        let made = site.run(&["certs", "--nodes", &nodes.to_string()]);
        assert_eq!(made.code, Some(0), "{made:?}");
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program, untouched by the environment of whoever runs the tests.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.dress(Command::new(env!("CARGO_BIN_EXE_headframe")), words)
    }

    /// The same for [`Process::fill_disk`]: a file that may not grow is an error, as a disk without room is; otherwise it would kill.
    pub(crate) fn fillable(&self, words: &[&str]) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#, env!("CARGO_BIN_EXE_headframe")]);
        self.dress(shell, words)
    }

    /// Gives a command its words and this machine's surroundings.
    fn dress(&self, mut command: Command, words: &[&str]) -> Command {
        command.args(words);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEADFRAME_") {
                command.env_remove(name);
            }
        }
        command.env("HEADFRAME_LOG", "warn").env("HEADFRAME_RUN_DIR", self.path("run")).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        start(self.command(words)).end()
    }

    /// Starts it.
    pub(crate) fn start(&self, words: &[&str]) -> Process {
        start(self.command(words))
    }

    /// Starts a block service, on any free port; gives its address too.
    pub(crate) fn service(&self, words: &[&str]) -> (Process, SocketAddr) {
        let mut command = self.fillable(&[&["service"], words].concat());
        command.env("HEADFRAME_SERVICE_LISTEN", format!("{}:0", self.host)); // a flag in `words` wins
        let mut service = start(command);
        let line = service.line().expect("the service's address");
        let address = line.strip_prefix("block service at http://").unwrap_or_else(|| panic!("{line}"));
        (service, address.parse().unwrap())
    }

    /// Starts a node that speaks JSON, listens on any free port, and mines on `source` with one thread.
    pub(crate) fn node(&self, id: u32, source: SocketAddr, words: &[&str]) -> Process {
        let (id, source) = (id.to_string(), format!("http://{source}"));
        let common = ["node", "--json", "--id", &id, "--source", &source, "--threads", "1"];
        let mut command = self.command(&[&common, words].concat());
        command.env("HEADFRAME_LISTEN", format!("{}:0", self.host)); // a flag in `words` wins
        start(command)
    }

    /// UDP addresses of this machine that were free a moment ago.
    pub(crate) fn free_addresses<const N: usize>(&self) -> [SocketAddr; N] {
        let sockets: [_; N] = std::array::from_fn(|_| UdpSocket::bind((self.host, 0)).unwrap());
        sockets.map(|socket| socket.local_addr().unwrap())
    }

    /// The names of the files in the registry.
    pub(crate) fn registered(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.path("run")) else { return Vec::new() };
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The standard output of `status --json`, parsed.
    pub(crate) fn status(&self) -> Vec<Value> {
        let status = self.run(&["status", "--json"]);
        assert_eq!(status.code, Some(if status.out.is_empty() { 3 } else { 0 }), "{status:?}");
        status.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Starts a command whose outputs are piped.
pub(crate) fn start(mut command: Command) -> Process {
    let mut child = command.spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let out = child.stdout.take();
    thread::spawn(move || {
        let Some(out) = out else { return };
        for line in BufReader::new(out).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let err = child.stderr.take().map(|mut err| {
        thread::spawn(move || {
            let mut text = Vec::new();
            let _ = err.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    Process { child, lines, err }
}

impl Process {
    /// From now on it can write nothing to its disk, or everything again. For processes of [`Site::fillable`], as services are.
    pub(crate) fn fill_disk(&self, full: bool) {
        let limit = Rlimit { current: full.then_some(0), maximum: None };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory in KiB; Linux only.
    pub(crate) fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse().ok()
    }

    /// All further lines of its standard output, for someone who reads them as they come.
    pub(crate) fn lines(&mut self) -> Receiver<String> {
        std::mem::replace(&mut self.lines, mpsc::channel().1)
    }

    /// The next line of its standard output; none once that is closed.
    #[track_caller]
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {PATIENCE:?}"),
        }
    }

    /// Reads on to the next event of this name for which `wanted` holds.
    #[track_caller]
    pub(crate) fn event(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.line() {
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["event"] == name && wanted(&event) {
                return event;
            }
            assert!(Instant::now() < deadline, "no such {name} event within {PATIENCE:?}");
        }
        panic!("it ended before such a {name} event: {}", self.errors());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let begin = Instant::now();
        let code = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if begin.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                None => panic!("still running after {PATIENCE:?}"),
            }
        };
        let took = begin.elapsed();
        let out = self.lines.iter().map(|line| line + "\n").collect();
        Ended { code, out, err: self.errors(), took }
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end_by(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.end()
    }

    /// What it wrote to standard error until it closed that.
    fn errors(&mut self) -> String {
        self.err.take().map(|err| err.join().unwrap()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// It refused with this exit code and a message that contains all of `told`, and without a panic.
    pub(crate) fn refused(&self, code: i32, told: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(told.iter().all(|part| self.err.contains(part)), "expected {told:?} in {self:?}");
        assert!(!self.err.contains("panicked") && !self.err.contains("RUST_BACKTRACE"), "{self:?}");
    }

    /// The lines of its standard output, each a JSON object.
    pub(crate) fn json(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

/// Waits until something holds.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A loopback address for one test: a port whose server is not up yet, or comes back soon, cannot go to another test meanwhile. Where a
/// system has one loopback address only, it is that one.
pub(crate) fn own_host() -> IpAddr {
    let own = Ipv4Addr::new(127, fastrand::u8(1..255), fastrand::u8(..), fastrand::u8(1..255));
    if UdpSocket::bind((own, 0)).is_ok() { own.into() } else { Ipv4Addr::LOCALHOST.into() }
}
