//! The node's traffic with the registry of this machine. It runs in tasks of its own, so that nothing else waits for files.

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;

use super::{Registration, Registry, RegistryError, Status};
use crate::transport::Member;

/// Writes each new status, until the node has dropped the other end. Then the registration is taken out.
pub(super) async fn run(mut registration: Option<Registration>, mut status: watch::Receiver<Option<Status>>) {
    let mut can_write = true; // the first problem is logged
    while status.changed().await.is_ok() {
        let Some(status) = status.borrow_and_update().clone() else { continue };
        let written = spawn_blocking(move || {
            let result = registration.as_mut().map_or(Ok(()), |registration| registration.set_status(status));
            (registration, result)
        });
        let Ok((back, result)) = written.await else { return };
        registration = back;
        if let Err(problem) = result
            && std::mem::take(&mut can_write)
        {
            tracing::warn!("cannot write this server's status to the registry: {problem}");
        }
    }
    let _ = spawn_blocking(move || drop(registration)).await; // takes the address out
}

/// Reads the registry each time that this is asked for, until the node has dropped both ends.
pub(super) async fn list(registry: Registry, mut reads: mpsc::Receiver<()>, servers: mpsc::Sender<Vec<Member>>) {
    let mut can_read = true; // the first problem is logged
    while reads.recv().await.is_some() {
        match read(registry.clone()).await {
            Ok(members) => drop(servers.send(members).await), // fails once the node has stopped
            Err(problem) if std::mem::take(&mut can_read) => {
                tracing::warn!("cannot use the registry, so the list of servers stays as it is: {problem}");
            }
            Err(_) => {}
        }
    }
}

/// The servers that are registered on this machine and can be reached.
pub(super) async fn read(registry: Registry) -> Result<Vec<Member>, RegistryError> {
    let entries = spawn_blocking(move || registry.reached()).await.unwrap_or_else(|_| Ok(vec![]))?;
    Ok(entries.into_iter().map(|entry| Member::headframe(entry.id, entry.address)).collect())
}
