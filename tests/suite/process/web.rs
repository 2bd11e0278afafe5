//! The web as nodes meet it: questions to a block service, and servers that answer whatever a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::PATIENCE;

/// Sends a request and gives the answer's JSON, if an answer came.
pub(crate) fn ask(address: SocketAddr, method: &str, page: &str, body: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let length = body.len();
    let head = format!("{method} {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let kind = "Content-Type: application/json\r\n";
    stream.write_all(format!("{head}{kind}Content-Length: {length}\r\n\r\n{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// All blocks of a service, oldest first.
pub(crate) fn chain(service: SocketAddr) -> Vec<Value> {
    let mut chain = Vec::new();
    loop {
        let page = format!("/api/v1/chain?from={}&limit=1000", chain.len() + 1);
        let answer = ask(service, "GET", &page, "").expect("the chain");
        match answer.as_array().unwrap_or_else(|| panic!("{answer}")) {
            blocks if blocks.is_empty() => return chain,
            blocks => chain.extend_from_slice(blocks),
        }
    }
}

/// A whole HTTP answer.
pub(crate) fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

type Reply = Arc<Mutex<Box<dyn FnMut(&str) -> Option<String> + Send>>>;

/// A server that makes its own answer to each request; none is silence.
#[derive(Clone)]
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    reply: Reply,
}

impl Web {
    pub(crate) fn start(reply: impl FnMut(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self { address: listener.local_addr().unwrap(), reply: Arc::new(Mutex::new(Box::new(reply))) };
        let reply = Arc::clone(&web.reply);
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let reply = Arc::clone(&reply);
                thread::spawn(move || serve(stream, &reply));
            }
        });
        web
    }

    /// From now on it answers so.
    pub(crate) fn set(&self, reply: impl FnMut(&str) -> Option<String> + Send + 'static) {
        *self.reply.lock().unwrap() = Box::new(reply);
    }
}

fn serve(mut stream: TcpStream, reply: &Reply) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    // What nodes send comes in a piece or two, with a body that ends in a brace.
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") || bytes.starts_with(b"POST") && !bytes.ends_with(b"}") {
        match stream.read(&mut chunk) {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let answered = (reply.lock().unwrap())(&String::from_utf8_lossy(&bytes));
    match answered {
        Some(answer) => drop(stream.write_all(answer.as_bytes())),
        None => thread::sleep(Duration::from_secs(60)), // keeps the connection open
    }
}
