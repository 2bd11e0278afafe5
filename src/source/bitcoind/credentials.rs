//! How a node is told who asks: by user and password, or by the cookie that Bitcoin Core writes anew at every start.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as STANDARD;
use reqwest::RequestBuilder;

use crate::regular::{self, Links};
use crate::source::secrets;

/// A cookie is some 75 bytes long.
const MOST_COOKIE: u64 = 4096;

/// How a node is told who asks. No form of it is ever shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// The node is told nothing.
    #[default]
    None,
    /// A user and a password (`rpcauth`).
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// The file that a node writes at its start, as `user:password`. It is read again when the node refuses what stood in it.
    Cookie(PathBuf),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no credentials"),
            Self::Password { .. } => f.write_str("a user and a password"),
            Self::Cookie(path) => write!(f, "the cookie file {}", path.display()),
        }
    }
}

/// What a request says of who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    user: String,
    password: String,
}

impl Login {
    pub(super) fn on(&self, request: RequestBuilder) -> RequestBuilder {
        request.basic_auth(&self.user, Some(&self.password))
    }
}

/// The credentials, with the cookie as it was read last.
pub(super) struct Keys {
    credentials: Credentials,
    cookie: Mutex<Option<Login>>,
}

impl Keys {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, cookie: Mutex::new(None) }
    }

    /// What the next request says.
    ///
    /// # Errors
    /// There is no cookie that could be read.
    pub(super) async fn login(&self) -> Result<Option<Login>, String> {
        match &self.credentials {
            Credentials::None => Ok(None),
            Credentials::Password { user, password } => {
                Ok(Some(Login { user: user.clone(), password: password.clone() }))
            }
            Credentials::Cookie(path) => {
                if let Some(login) = self.known() {
                    return Ok(Some(login));
                }
                let login = read_cookie(path.clone()).await?;
                *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = Some(login.clone());
                Ok(Some(login))
            }
        }
    }

    /// What to say instead of `refused`, if there is anything else: the cookie as it is now.
    pub(super) async fn instead_of(&self, refused: Option<&Login>) -> Option<Login> {
        let Credentials::Cookie(path) = &self.credentials else { return None };
        let login = read_cookie(path.clone()).await.ok()?;
        *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = Some(login.clone());
        (Some(&login) != refused).then_some(login)
    }

    /// A node's words without user and password, which it may repeat, also as the request had them.
    pub(super) fn masked(&self, text: &str) -> String {
        let login = match &self.credentials {
            Credentials::Password { user, password } => Some(Login { user: user.clone(), password: password.clone() }),
            _ => self.known(),
        };
        let Some(Login { user, password }) = login else { return text.to_owned() };
        let header = STANDARD.encode(format!("{user}:{password}"));
        secrets::masked(text, [header.as_str(), &user, &password])
    }

    fn known(&self) -> Option<Login> {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an operator can do about a refusal.
    pub(super) fn advice(&self) -> &'static str {
        match self.credentials {
            Credentials::None => {
                "give --cookie FILE, or HEADFRAME_SOURCE_USER and HEADFRAME_SOURCE_PASSWORD in the environment"
            }
            Credentials::Password { .. } => "see whether the node knows this user and password",
            Credentials::Cookie(_) => "see whether this is the cookie file of the node that runs",
        }
    }
}

async fn read_cookie(path: PathBuf) -> Result<Login, String> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || regular::read(&path, Links::IfSafe, MOST_COOKIE));
    let text = match read.await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            return Err(format!("expected a cookie file at {shown}: {error}; the node writes it at its start"));
        }
        Err(error) => return Err(format!("the cookie file {shown} was not read: {error}")),
    };
    match text.trim_end_matches(['\r', '\n']).split_once(':') {
        Some((user, password)) => Ok(Login { user: user.to_owned(), password: password.to_owned() }),
        None => Err(format!("expected user:password in the cookie file {shown}, got something else")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_password() {
        let password = Credentials::Password { user: "alice".into(), password: "secret".into() };
        assert_eq!(format!("{password:?}"), "a user and a password");
    }

    #[tokio::test]
    async fn a_cookie_is_kept_until_it_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let login = |user: &str, password: &str| Login { user: user.into(), password: password.into() };
        write("__cookie__:one\n");
        let keys = Keys::new(Credentials::Cookie(file.path().to_owned()));
        let one = login("__cookie__", "one");
        assert!(keys.login().await.unwrap() == Some(one.clone()));
        assert!(keys.instead_of(Some(&one)).await.is_none(), "the file still says the same");
        write("__cookie__:two:three");
        assert!(keys.login().await.unwrap() == Some(one.clone()), "it is not read for every request");
        let two = login("__cookie__", "two:three");
        assert!(keys.instead_of(Some(&one)).await == Some(two.clone()));
        assert!(keys.login().await.unwrap() == Some(two));
    }

    #[tokio::test]
    async fn a_cookie_that_is_none_is_named_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "secret").unwrap();
        let missing = file.path().with_extension("missing");
        for path in [file.path().to_owned(), missing] {
            let problem = Keys::new(Credentials::Cookie(path.clone())).login().await.err().unwrap();
            assert!(problem.contains(&path.display().to_string()) && !problem.contains("secret"), "{problem}");
        }
    }
}
