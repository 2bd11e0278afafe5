//! What `up` and `node` share: the runtime, signals, nodes and their events.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::view::View;
use crate::cluster::NodeId;
use crate::node::{self, Event, Outcome, Registration, Registry, RegistryError};

/// Everything but hashing takes a small part of one core. With two threads a slow moment of one goes unnoticed.
const NETWORK_THREADS: usize = 2;

/// The most events on their way to the user; beyond that, the nodes keep them.
const EVENTS: usize = 1024;

/// How long nodes may take to end after a signal; users are promised two seconds.
const GOODBYE: Duration = Duration::from_millis(1000);

/// The runtime for everything but hashing.
pub(super) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(NETWORK_THREADS)
        .thread_name("network")
        .enable_all()
        .build()
        .context("cannot start the network threads")
}

/// Waits for a signal that asks the process to end, and gives it. Signals are caught from the return of this call on.
fn asked_to_end() -> anyhow::Result<impl Future<Output = SignalKind>> {
    let catch = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate) = (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?);
    let mut hang_up = catch(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hang_up.recv() => SignalKind::hangup(), // the terminal was closed
        }
    })
}

/// A token that is cancelled when the user or the system asks the process to end. Signals are caught from the return of this call on, so
/// call it before anything is made that must not be left behind.
pub(super) fn until_signal() -> anyhow::Result<CancellationToken> {
    let (stop, asked) = (CancellationToken::new(), asked_to_end()?);
    let stopping = stop.clone();
    tokio::spawn(async move {
        asked.await;
        stopping.cancel();
    });
    Ok(stop)
}

/// Has the process end when it is asked to, for commands that leave nothing behind. The system does that by itself, but not to the first
/// process of a container.
pub(super) fn end_on_signal() -> anyhow::Result<()> {
    const ENDED_BY_SIGNAL: i32 = 128;
    let runtime = Builder::new_current_thread().enable_io().build().context("cannot listen for signals")?;
    let asked = {
        let _guard = runtime.enter();
        asked_to_end()?
    };
    std::thread::spawn(move || {
        let signal = runtime.block_on(asked);
        std::process::exit(ENDED_BY_SIGNAL + signal.as_raw_value());
    });
    Ok(())
}

/// The server's place in this machine's registry. A server that knows its peers does without where the registry cannot be used.
///
/// # Errors
/// Another server of this machine has the id.
pub(super) fn register(
    registry: &Result<Registry, RegistryError>,
    id: NodeId,
    address: SocketAddr,
) -> Result<Option<Registration>, RegistryError> {
    let warn = |problem: &RegistryError| {
        tracing::warn!(
            "node {id} is not registered, so `headframe status` does not show it: {problem}; name a folder that can be written to with HEADFRAME_RUN_DIR"
        );
    };
    let registered = match registry {
        Ok(registry) => registry.register(id, address, since_1970().as_secs()),
        Err(problem) => {
            warn(problem);
            return Ok(None);
        }
    };
    match registered {
        Err(problem) if !matches!(problem, RegistryError::Taken { .. }) => {
            warn(&problem);
            Ok(None)
        }
        registered => registered.map(Some),
    }
}

/// Runs nodes until `stop`, and shows their events. Ends by itself once `blocks` blocks were accepted.
pub(super) async fn nodes(
    configs: Vec<node::Config>,
    mut view: View,
    blocks: Option<u64>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (tell, mut events) = mpsc::channel(EVENTS);
    let mut running = JoinSet::new();
    for config in configs {
        running.spawn(node::run(config, tell.clone(), stop.clone()));
    }
    drop(tell);
    let stopped = stop.clone();
    // Events are shown on a thread of their own: the reader may stop reading, and then writing blocks for ever.
    let (show, shown) = oneshot::channel();
    std::thread::spawn(move || {
        let mut accepted = 0;
        let mut shown = Ok(());
        // Ends when the last node has dropped its end.
        while let Some(event) = events.blocking_recv() {
            if matches!(event.event, Event::Block { status: Outcome::Success, .. }) {
                accepted += 1;
                if Some(accepted) == blocks {
                    stop.cancel();
                }
            }
            if shown.is_ok() {
                shown = view.show(&event);
                if shown.is_err() {
                    stop.cancel(); // nobody reads any more
                }
            }
        }
        view.end();
        let _ = show.send(shown);
    });
    let ended = async {
        let mut first = Ok(());
        while let Some(ended) = running.join_next().await {
            let ended = ended.context("a node ended unexpectedly").and_then(|ended| Ok(ended?));
            if ended.is_err() {
                stopped.cancel(); // the others are of no use to the user without it
            }
            first = first.and(ended);
        }
        first.and(shown.await.context("the output ended unexpectedly")?)
    };
    let too_late = async {
        stopped.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    };
    tokio::select! {
        ended = ended => ended,
        // Some events were not shown, but nobody reads what could be said of that.
        () = too_late => Ok(()),
    }
}

/// The time of day, for certificates and the registry.
#[allow(clippy::disallowed_methods)]
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// The time since 1970, for events and the registry.
pub(super) fn since_1970() -> Duration {
    now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
