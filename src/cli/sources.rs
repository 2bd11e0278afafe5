//! What was typed as sources, and what they are: one kind for each scheme of an address.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::run::since_1970;
use super::settings::quoted;
use super::{args, usage};
use crate::source::{BitcoindSource, BlockSource, Credentials, NodeConfig, Payout, WebSource};
use crate::work::TextForm;

/// How often a block service is asked whether its block is still the one to find.
const POLL: Duration = Duration::from_secs(1);

/// Where the user and the password stand that a source is told.
const USER: &str = "HEADFRAME_SOURCE_USER";
const PASSWORD: &str = "HEADFRAME_SOURCE_PASSWORD";

/// The source at each URL, in order. `form` is that of texts, where a service does not state it; blocks are submitted to a service under the
/// name `pool`.
///
/// # Errors
/// A wrong URL, or what a source of its kind needs is missing: a usage error.
pub(super) fn sources(
    urls: &[String],
    bitcoin: &BitcoinSettings,
    pool: &str,
    form: TextForm,
) -> anyhow::Result<Vec<Arc<dyn BlockSource>>> {
    let source = |url: &String| -> anyhow::Result<Arc<dyn BlockSource>> {
        if url.starts_with(BitcoindSource::SCHEME) {
            return Ok(Arc::new(BitcoindSource::new(bitcoin.node(url)?).map_err(usage)?));
        }
        if url.starts_with("stratum+tcp://") || url.starts_with("stratum+ssl://") {
            return Err(usage("pools are not supported yet; expected http://host:port or bitcoind+http://host:port"));
        }
        Ok(Arc::new(WebSource::with_form(url, pool.to_owned(), POLL, form).map_err(usage)?))
    };
    urls.iter().map(source).collect()
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What a config file says of Bitcoin nodes.
#[derive(Debug, Default)]
pub(super) struct BitcoinInFile {
    pub(super) payout: Option<String>,
    pub(super) coinbase_text: Option<String>,
    pub(super) cookie: Option<PathBuf>,
    pub(super) insecure_source: Option<bool>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
}

/// What is common to all Bitcoin nodes that are sources.
#[derive(Debug, Default)]
pub(super) struct BitcoinSettings {
    payout: Option<Payout>,
    coinbase_text: String,
    cookie: Option<PathBuf>,
    insecure: bool,
    user: Option<String>,
    password: Option<Secret>,
}

impl BitcoinSettings {
    /// The settings, of which flags and environment win over the file. User and password are in the environment or the file only.
    ///
    /// # Errors
    /// The payout is no address at all: a usage error.
    pub(super) fn resolve(args: args::Bitcoin, file: BitcoinInFile) -> anyhow::Result<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let payout = args.payout.or(file.payout).map(|text| text.parse()).transpose();
        Ok(Self {
            payout: payout.map_err(|error| usage(format_args!("--payout: {error}")))?,
            coinbase_text: args.coinbase_text.or(file.coinbase_text).unwrap_or_default(),
            cookie: args.cookie.or(file.cookie),
            insecure: args.insecure_source.or(file.insecure_source).unwrap_or_default(),
            user: set(USER).or(file.user),
            password: set(PASSWORD).map(Secret).or(file.password),
        })
    }

    /// How the node at `url` is asked.
    fn node(&self, url: &str) -> anyhow::Result<NodeConfig> {
        let payout = self.payout.clone().ok_or_else(|| {
            usage("expected --payout ADDRESS with a Bitcoin node as a source: the address that is paid by the blocks")
        })?;
        let credentials = match (&self.cookie, &self.user, &self.password) {
            (Some(path), ..) => Credentials::Cookie(path.clone()),
            (None, None, None) => Credentials::None,
            (None, Some(user), Some(Secret(password))) => {
                Credentials::Password { user: user.clone(), password: password.clone() }
            }
            _ => return Err(usage(format_args!("expected both of {USER} and {PASSWORD}, got one; set the other too"))),
        };
        Ok(NodeConfig {
            url: url.to_owned(),
            credentials,
            payout,
            text: self.coinbase_text.clone(),
            insecure: self.insecure,
            now: since_1970(),
        })
    }

    /// The settings as a config file would have them, but for user and password.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.payout.as_ref().map(|payout| format!("payout = {}", quoted(&payout.to_string()))));
        if !self.coinbase_text.is_empty() {
            lines.push(format!("coinbase_text = {}", quoted(&self.coinbase_text)));
        }
        lines.extend(self.cookie.as_ref().map(|path| format!("cookie = {}", quoted(&path.to_string_lossy()))));
        if self.insecure {
            lines.push("insecure_source = true".to_owned());
        }
        lines
    }

    /// That user and password are set, without them.
    pub(super) fn masked_lines(&self) -> Vec<String> {
        let user = self.user.as_ref().map(|_| "# source_user is set".to_owned());
        let password = self.password.as_ref().map(|_| "# source_password is set".to_owned());
        user.into_iter().chain(password).collect()
    }
}
