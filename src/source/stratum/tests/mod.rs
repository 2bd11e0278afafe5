//! Sessions with a scripted pool: in memory where a test stops the clock, over TCP and TLS where the connection itself is tested.

mod faults;
mod flow;
mod jobs;
mod orders;
mod pool;
mod tls;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::pool::Script;
use super::connection::Connection;
use super::{Failure, StratumAddress, StratumSource, Tls};
use crate::source::{BlockSource, Session};
use crate::work::{Run, Slot, Solution, Template};

/// Hashes a second that the source is told.
const RATE: f64 = 1e6;
/// What must not be shown.
const USER: &str = "secretuser.rig1";
const PASSWORD: &str = "secretpassword";
const NOW: Duration = Duration::from_secs(1_800_000_000);

fn source(port: u16) -> StratumSource {
    let address = StratumAddress::parse(&format!("stratum+tcp://{USER}@127.0.0.1:{port}")).unwrap();
    StratumSource::new(address.with_password(PASSWORD.into()).unwrap(), Tls::default(), RATE).unwrap()
}

/// A source, and the pool's end of a connection in memory.
async fn greet(
    script: impl AsyncFnOnce(&mut Script),
    configures: bool,
) -> (StratumSource, Script, Result<Box<dyn Session>, Failure>) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let (source, mut pool) = (source(1), Script::new(theirs));
    let (session, ()) = tokio::join!(source.greet(Connection::over_test(ours), configures), script(&mut pool));
    (source, pool, session)
}

/// An open session whose versions may be rolled.
async fn session() -> (StratumSource, Script, Box<dyn Session>) {
    let (source, pool, session) = greet(async |pool: &mut Script| pool.greet().await, true).await;
    (source, pool, session.unwrap())
}

/// The session's next template.
async fn next(session: &mut Box<dyn Session>) -> Template {
    session.next().await.unwrap().template
}

/// The error that ends the session.
async fn over(session: &mut Box<dyn Session>) -> String {
    loop {
        if let Err(error) = session.next().await {
            assert!(error.is_over, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
            return error.to_string();
        }
    }
}

/// A solution of the template's job with this number.
fn mine(template: &Template, n: u64) -> Solution {
    let job = template.job(Slot { run: Run(7), n }, NOW).unwrap();
    let nonce = (0..1 << 24).find(|&nonce| job.check(nonce).is_some()).unwrap();
    Solution { job, nonce }
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A difficulty of which a share takes 430 hashes.
fn easy() -> Value {
    json!(1e-7)
}
