//! `headframe service`: the block service alone.

use std::time::Duration;

use super::run::{now, runtime, until_signal};
use super::{Outcome, args, print, tell, usage};
use crate::service::{Service, ServiceConfig, ServiceError, Zeros};
use anyhow::Context;

/// The interval between blocks, unless the user says otherwise.
const INTERVAL: Duration = Duration::from_secs(3);

pub(super) fn run(args: &args::Service) -> anyhow::Result<Outcome> {
    let config = ServiceConfig {
        store: args.store.clone(),
        max_connections: args.max_connections,
        allowed_hosts: args.allowed_hosts.clone(),
        ..ServiceConfig::new(args.listen, zeros(args.zeros, args.interval))
    };
    runtime()?.block_on(async {
        let service = bind(config)?;
        let stop = until_signal()?;
        if let Err(problem) = print(format_args!("block service at http://{}", service.local_addr())) {
            tell(format_args!("{problem:#}")); // whoever asks the service needs no line of it
        }
        service.run(stop).await;
        Ok(Outcome::Done)
    })
}

/// Fixed zeros, or the interval to adapt them to.
pub(super) fn zeros(fixed: Option<i64>, interval: Option<Duration>) -> Zeros {
    match fixed {
        Some(zeros) => Zeros::Fixed(zeros),
        None => Zeros::Adapt { interval: interval.unwrap_or(INTERVAL) },
    }
}

/// A service on the real clock.
pub(super) fn bind(config: ServiceConfig) -> anyhow::Result<Service> {
    Service::bind(config, now)
        .map_err(|error| match error {
            ServiceError::Zeros(_) | ServiceError::Interval(_) | ServiceError::Host(_) => usage(error),
            other => other.into(),
        })
        .context("block service")
}
