//! Where a pool is and who is paid there, as `--source` says it: `stratum+tcp://user@host:port` or `stratum+ssl://user@host:port`.
//!
//! A user is a payout name. It is shown nowhere, and neither is the password.

use std::fmt;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::source::SourceError;

/// What pools expect where they look at no password.
const NO_PASSWORD: &str = "x";
/// The longest user or password, in bytes: a submission has to fit into what pools read as one line.
const LONGEST_NAME: usize = 512;

/// A pool's address, and the name under which it is mined for.
#[derive(Clone, PartialEq, Eq)]
pub struct StratumAddress {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) is_tls: bool,
}

impl StratumAddress {
    /// The address in `stratum+tcp://user@host:port`, or with `stratum+ssl` for TLS. Special characters of the user are percent-encoded. The
    /// user may be left out, and given by [`with_user`](Self::with_user).
    ///
    /// # Errors
    /// Another scheme or form, no port, or a password.
    pub fn parse(url: &str) -> Result<Self, SourceError> {
        // Whatever stands before an @ may be a secret.
        let shown = url.rsplit_once('@').map_or("the pool", |(_, host)| host);
        let refused = |problem: String| SourceError { url: shown.to_owned(), problem, is_over: false };
        const FORM: &str = "stratum+tcp://user@host:port or stratum+ssl://user@host:port";
        let parsed = Url::parse(url).map_err(|error| refused(format!("expected {FORM}, got {error}")))?;
        let is_tls = match parsed.scheme() {
            "stratum+tcp" => false,
            "stratum+ssl" => true,
            other => return Err(refused(format!("expected {FORM}, got the scheme {other:?}"))),
        };
        if parsed.password().is_some() {
            let problem =
                "expected no password in the address; give it by HEADFRAME_SOURCE_PASSWORD or in the config file";
            return Err(refused(problem.into()));
        }
        let host = parsed.host_str().filter(|host| !host.is_empty() && !host.contains('%'));
        let host = host.ok_or_else(|| refused(format!("expected {FORM}, got no usable host")))?;
        let port = parsed.port().filter(|&port| port > 0);
        let port = port.ok_or_else(|| refused(format!("expected {FORM}, got no port")))?;
        if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(refused(format!("expected {FORM}, got more behind the port")));
        }
        let user = percent_decode_str(parsed.username()).decode_utf8();
        let user = user.map_err(|_| refused("expected a user in UTF-8, got other bytes".into()))?.into_owned();
        let address =
            Self { host: host.to_owned(), port, user: String::new(), password: NO_PASSWORD.to_owned(), is_tls };
        if user.is_empty() { Ok(address) } else { address.with_user(user) }
    }

    /// The same pool, for this user.
    ///
    /// # Errors
    /// The user is empty, longer than 512 bytes, or has control characters.
    pub fn with_user(self, user: String) -> Result<Self, SourceError> {
        self.check("user", &user)?;
        Ok(Self { user, ..self })
    }

    /// The same pool, with this password instead of `x`.
    ///
    /// # Errors
    /// The password is empty, longer than 512 bytes, or has control characters.
    pub fn with_password(self, password: String) -> Result<Self, SourceError> {
        self.check("password", &password)?;
        Ok(Self { password, ..self })
    }

    /// The address without the user.
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "stratum+ssl" } else { "stratum+tcp" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }

    /// Whether a user is known.
    pub fn has_user(&self) -> bool {
        !self.user.is_empty()
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The text is not repeated where it is refused.
    fn check(&self, what: &str, text: &str) -> Result<(), SourceError> {
        let problem = match text {
            "" => format!("expected a {what}, got an empty one"),
            _ if text.len() > LONGEST_NAME => {
                format!("expected a {what} of at most {LONGEST_NAME} bytes, got {}", text.len())
            }
            _ if text.contains(char::is_control) => format!("expected a {what} without control characters, got one"),
            _ => return Ok(()),
        };
        Err(SourceError { url: self.url(), problem, is_over: false })
    }
}

/// Without the user and the password.
impl fmt::Debug for StratumAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StratumAddress").field(&self.url()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_user() {
        for (given, user, shown, bare) in [
            (
                "stratum+tcp://bc1qx.rig1@pool.example:3333",
                "bc1qx.rig1",
                "stratum+tcp://pool.example:3333",
                "pool.example",
            ),
            ("stratum+ssl://u@127.0.0.1:1", "u", "stratum+ssl://127.0.0.1:1", "127.0.0.1"),
            ("stratum+ssl://u@[::1]:65535/", "u", "stratum+ssl://[::1]:65535", "::1"),
            ("stratum+tcp://a%40b%3Ac%20d@h:3", "a@b:c d", "stratum+tcp://h:3", "h"),
            ("stratum+tcp://a@b@h:3", "a@b", "stratum+tcp://h:3", "h"),
            ("stratum+tcp://h:3", "", "stratum+tcp://h:3", "h"),
        ] {
            let address = StratumAddress::parse(given).unwrap();
            assert_eq!((address.user.as_str(), address.password.as_str()), (user, "x"));
            assert_eq!((address.url().as_str(), address.bare_host()), (shown, bare));
            assert_eq!(address.has_user(), !user.is_empty());
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "",
            "pool.example:3333",
            "http://u@h:1",
            "stratum://u@h:1",
            "stratum+tcp://u@h",
            "stratum+tcp://u@h:0",
            "stratum+tcp://u@h:65536",
            "stratum+tcp://u@:3333",
            "stratum+tcp://u@%68:3333",
            "stratum+tcp://u@h:1/path",
            "stratum+tcp://u@h:1?a=b",
            "stratum+tcp://u@h:1#a",
        ] {
            let error = StratumAddress::parse(url).unwrap_err().to_string();
            assert!(error.contains("expected stratum+tcp://"), "{url:?}: {error}");
        }
        let error = StratumAddress::parse("stratum+tcp://u%ff@h:1").unwrap_err().to_string();
        assert!(error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn users_and_passwords_are_neither_shown_nor_repeated_in_errors() {
        for url in ["stratum+tcp://secret:secret@h:1", "stratum+tcp://secret@h:99999", "ftp://secret@h:1"] {
            let error = StratumAddress::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
        let address = StratumAddress::parse("stratum+tcp://secret@h:1").unwrap();
        let address = address.with_password("secret".into()).unwrap();
        assert_eq!(address.password, "secret");
        assert!(!format!("{address:?} {}", address.url()).contains("secret"));
        for name in [String::new(), "secret".repeat(100), "secret\n".into()] {
            for error in [address.clone().with_user(name.clone()), address.clone().with_password(name)] {
                let error = error.unwrap_err();
                assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
            }
        }
    }
}
