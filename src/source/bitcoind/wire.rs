//! How requests get to a node: over HTTP with credentials. Tests put a node of their own in its place.

use super::credentials::{Credentials, Keys, Login};
use crate::source::BoxFuture;
use crate::source::http::{Http, Limits, Reply};

/// A way to a node's RPC server.
pub(super) trait Wire: Send + Sync {
    /// The node's address, without credentials.
    fn url(&self) -> &str;

    /// The page of a node's own link; `None` if it leads to another server.
    fn page(&self, link: &str) -> Option<String>;

    /// A node's words without the credentials, which it may repeat.
    fn masked(&self, words: &str) -> String {
        words.to_owned()
    }

    /// Posts a request to a page, or to the usual one, and gives the answer whatever its status.
    ///
    /// # Errors
    /// No answer came, or the node does not take the credentials.
    fn post<'a>(&'a self, page: Option<&'a str>, body: String, limits: Limits) -> BoxFuture<'a, Result<Reply, String>>;
}

/// HTTP, with the credentials in each request.
pub(super) struct HttpWire {
    http: Http,
    keys: Keys,
}

impl HttpWire {
    pub(super) fn new(http: Http, credentials: Credentials) -> Self {
        Self { http, keys: Keys::new(credentials) }
    }

    async fn send(&self, page: &str, login: Option<&Login>, body: String, limits: Limits) -> Result<Reply, String> {
        let request = self.http.post_to(page, body);
        let request = match login {
            Some(login) => login.on(request),
            None => request,
        };
        self.http.send(request, limits).await.map_err(|error| error.problem)
    }
}

impl Wire for HttpWire {
    fn url(&self) -> &str {
        self.http.url()
    }

    fn page(&self, link: &str) -> Option<String> {
        self.http.page(link)
    }

    fn masked(&self, words: &str) -> String {
        self.keys.masked(words)
    }

    /// A cookie that the node refuses is read again, once: the node may have started anew.
    fn post<'a>(&'a self, page: Option<&'a str>, body: String, limits: Limits) -> BoxFuture<'a, Result<Reply, String>> {
        Box::pin(async move {
            let page = page.unwrap_or(self.http.address());
            let login = self.keys.login().await?;
            let mut reply = self.send(page, login.as_ref(), body.clone(), limits).await?;
            if reply.status == 401
                && let Some(newer) = self.keys.instead_of(login.as_ref()).await
            {
                reply = self.send(page, Some(&newer), body, limits).await?;
            }
            match reply.status {
                401 => {
                    Err(format!("expected the node to take the credentials, got status 401; {}", self.keys.advice()))
                }
                403 => Err("expected the node to answer this machine, got status 403; see its rpcallowip".into()),
                _ => Ok(reply),
            }
        })
    }
}
