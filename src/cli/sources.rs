//! What was typed as sources, and what they are: one kind for each scheme of an address.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::run::since_1970;
use super::settings::quoted;
use super::{args, usage};
use crate::kernel::Choice;
use crate::node::PayoutCheck;
use crate::regular::{self, Links};
use crate::source::{
    BitcoindSource, BlockSource, Credentials, NodeConfig, Payout, StratumAddress, StratumSource, Tls, WebSource,
};
use crate::work::{Template, TextForm};

/// How often a block service is asked whether its block is still the one to find.
const POLL: Duration = Duration::from_secs(1);

/// The largest file of certificates that is read, in bytes: more than all authorities of the web.
const MAX_AUTHORITIES: u64 = 1 << 20;

/// Where the user and the password stand that a source is told.
const USER: &str = "HEADFRAME_SOURCE_USER";
const PASSWORD: &str = "HEADFRAME_SOURCE_PASSWORD";

/// The source at each URL, in order. `form` is that of texts, where a service does not state it; blocks are submitted to a service under the
/// name `pool`. A pool is asked for shares as hard as suits `rate`, in hashes a second; 0 if it is not known.
///
/// # Errors
/// A wrong URL, or what a source of its kind needs is missing: a usage error.
pub(super) fn sources(
    urls: &[String],
    bitcoin: &BitcoinSettings,
    pool: &str,
    form: TextForm,
    rate: f64,
) -> anyhow::Result<Vec<Arc<dyn BlockSource>>> {
    let source = |url: &String| -> anyhow::Result<Arc<dyn BlockSource>> {
        if url.starts_with(BitcoindSource::SCHEME) {
            return Ok(Arc::new(BitcoindSource::new(bitcoin.node(url)?).map_err(usage)?));
        }
        if is_pool(url) {
            // A pool is not told what a Bitcoin node is.
            let is_nodes = urls.iter().any(|url| url.starts_with(BitcoindSource::SCHEME));
            let address = bitcoin.pool(url, is_nodes)?;
            return Ok(Arc::new(StratumSource::new(address, bitcoin.tls()?, rate).map_err(usage)?));
        }
        Ok(Arc::new(WebSource::with_form(url, pool.to_owned(), POLL, form).map_err(usage)?))
    };
    urls.iter().map(source).collect()
}

/// The hashes a second that so many servers with as many threads as this one promise together; 0 if the kernel was not measured.
pub(super) fn rate(kernel: &Choice, threads: usize, servers: usize) -> f64 {
    kernel.promised().unwrap_or(0.0) * (threads * servers) as f64
}

fn is_pool(url: &str) -> bool {
    url.starts_with("stratum+tcp://") || url.starts_with("stratum+ssl://")
}

/// A source's URL without its user, which may be a payout name.
pub(super) fn shown(url: &str) -> String {
    match url.split_once("://").zip(url.rsplit_once('@')) {
        Some(((scheme, _), (_, host))) if is_pool(url) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
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
    pub(super) tls_ca: Option<PathBuf>,
    pub(super) tls_fingerprint: Option<String>,
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
    tls_ca: Option<PathBuf>,
    tls_fingerprint: Option<String>,
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
            tls_ca: args.tls_ca.or(file.tls_ca),
            tls_fingerprint: args.tls_fingerprint.or(file.tls_fingerprint),
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

    /// The pool at `url`, and the user there. `is_nodes`: user and password are those of a Bitcoin node.
    fn pool(&self, url: &str, is_nodes: bool) -> anyhow::Result<StratumAddress> {
        let mut address = StratumAddress::parse(url).map_err(usage)?;
        if is_nodes {
            return Ok(address);
        }
        if !address.has_user()
            && let Some(user) = &self.user
        {
            address = address.with_user(user.clone()).map_err(usage)?;
        }
        match &self.password {
            Some(Secret(password)) => address.with_password(password.clone()).map_err(usage),
            None => Ok(address),
        }
    }

    /// Whom a pool has to prove to be.
    fn tls(&self) -> anyhow::Result<Tls> {
        match (&self.tls_ca, &self.tls_fingerprint) {
            (Some(_), Some(_)) => Err(usage("expected one of --tls-ca and --tls-fingerprint, got both")),
            (Some(path), None) => {
                let pem = regular::read(path, Links::IfSafe, MAX_AUTHORITIES);
                let pem = pem.map_err(|problem| usage(format_args!("--tls-ca {}: {problem}", path.display())))?;
                Tls::authorities(&pem).map_err(usage)
            }
            (None, Some(fingerprint)) => Tls::fingerprint(fingerprint).map_err(usage),
            (None, None) => Ok(Tls::System),
        }
    }

    /// Whom the work of other leaders has to pay, of a node with these sources.
    pub(super) fn demanded(&self, urls: &[String]) -> Option<PayoutCheck> {
        let payout = self.payout.clone()?;
        let (address, takes_shares) = (payout.to_string(), urls.iter().any(|url| is_pool(url)));
        let pays = move |template: &Template, slot| payout.is_paid_by(template, slot);
        Some(PayoutCheck { address, pays: Arc::new(pays), takes_shares })
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
        lines.extend(self.tls_ca.as_ref().map(|path| format!("tls_ca = {}", quoted(&path.to_string_lossy()))));
        lines.extend(self.tls_fingerprint.as_ref().map(|digits| format!("tls_fingerprint = {}", quoted(digits))));
        lines
    }

    /// That user and password are set, without them.
    pub(super) fn masked_lines(&self) -> Vec<String> {
        let user = self.user.as_ref().map(|_| "# source_user is set".to_owned());
        let password = self.password.as_ref().map(|_| "# source_password is set".to_owned());
        user.into_iter().chain(password).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "bitcoind+http://127.0.0.1:8332";
    const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

    fn in_file(user: Option<&str>, password: Option<&str>) -> BitcoinInFile {
        let (user, password) = (user.map(str::to_owned), password.map(|password| Secret(password.to_owned())));
        BitcoinInFile { user, password, ..BitcoinInFile::default() }
    }

    fn paid() -> args::Bitcoin {
        args::Bitcoin { payout: Some(ADDRESS.to_owned()), ..args::Bitcoin::default() }
    }

    fn refused(url: &str, args: args::Bitcoin, file: BitcoinInFile) -> String {
        let resolved = BitcoinSettings::resolve(args, file);
        let opened = resolved.and_then(|bitcoin| sources(&[url.to_owned()], &bitcoin, "me", TextForm::default(), 0.0));
        let error = opened.err().expect("a usage error");
        assert!(error.is::<super::super::Usage>(), "{error}");
        error.to_string()
    }

    #[test]
    fn a_bitcoin_node_needs_a_payout_and_whole_credentials() {
        assert!(refused(NODE, args::Bitcoin::default(), in_file(None, None)).contains("expected --payout ADDRESS"));
        let wrong = args::Bitcoin { payout: Some("me".to_owned()), ..args::Bitcoin::default() };
        assert!(refused(NODE, wrong, in_file(None, None)).contains("--payout: expected a Bitcoin address"));
        for file in [in_file(Some("x"), None), in_file(None, Some("secret"))] {
            let problem = refused(NODE, paid(), file);
            assert!(problem.contains(USER) && problem.contains(PASSWORD) && !problem.contains("secret"), "{problem}");
        }
        let elsewhere = refused("bitcoind+http://10.0.0.1:1", paid(), in_file(Some("x"), Some("secret")));
        assert!(elsewhere.contains("--insecure-source") && !elsewhere.contains("secret"), "{elsewhere}");
        let text = args::Bitcoin { coinbase_text: Some("x".repeat(69)), ..paid() };
        assert!(refused(NODE, text, in_file(None, None)).contains("at most 68 bytes"));
        let in_url = refused("bitcoind+http://me:secret@127.0.0.1:8332", paid(), in_file(None, None));
        assert!(in_url.contains("no credentials") && !in_url.contains("secret"), "{in_url}");
    }

    #[test]
    fn a_cookie_wins_over_a_password_and_neither_is_shown() {
        let cookie = args::Bitcoin { cookie: Some("cookie".into()), ..paid() };
        let bitcoin = BitcoinSettings::resolve(cookie, in_file(Some("alice"), Some("secret"))).unwrap();
        assert_eq!(bitcoin.node(NODE).unwrap().credentials, Credentials::Cookie("cookie".into()));
        let bitcoin = BitcoinSettings::resolve(paid(), in_file(Some("alice"), Some("secret"))).unwrap();
        let expected = Credentials::Password { user: "alice".to_owned(), password: "secret".to_owned() };
        assert_eq!(bitcoin.node(NODE).unwrap().credentials, expected);
        let shown = [bitcoin.lines().concat(), bitcoin.masked_lines().concat(), format!("{:?}", bitcoin.node(NODE))];
        assert!(shown.iter().all(|shown| !shown.contains("secret")), "{shown:?}");
    }
}
