//! Which `Host` a request may name. A web page can make a browser talk to this machine under a name of the page's own choice (DNS
//! rebinding). So names are refused, except `localhost` and those that the operator allows.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{Request, Version, header};

/// The hosts that a service answers to, with any port.
#[derive(Clone, Debug)]
pub(super) struct Hosts {
    /// More hosts, as the operator has written them.
    names: Vec<String>,
    /// Whether other machines can reach the service. They may then name any IP address: behind a router, the address that they use is not
    /// known here, and an IP address cannot be rebound.
    any_address: bool,
}

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HostError {
    #[error("expected one Host header, got {0}")]
    Count(usize),
    #[error("expected a Host header like 127.0.0.1:8480")]
    Malformed,
    #[error(
        "expected localhost, an IP address that this service listens on, or an allowed name as the Host, got another one"
    )]
    Refused,
}

/// Names that are allowed have to be hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a host to allow like mine.example, without scheme and port, got {0:?}")]
pub struct HostNameError(String);

impl Hosts {
    /// The hosts of a service that listens on `address`, and that others know by `names`.
    ///
    /// # Errors
    /// The first of `names` that is no host.
    pub(super) fn new(address: IpAddr, names: Vec<String>) -> Result<Self, HostNameError> {
        let is_host = |name: &String| name.parse().is_ok_and(|authority: Authority| authority.host() == name);
        match names.iter().find(|name| !is_host(name)) {
            Some(other) => Err(HostNameError(other.clone())),
            None => Ok(Self { names, any_address: !address.is_loopback() }),
        }
    }

    /// Checks the `Host` header, and the host in the request line if there is one.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), HostError> {
        if let Some(authority) = request.uri().authority() {
            self.check_authority(authority)?;
        }
        let mut hosts = request.headers().get_all(header::HOST).iter();
        match (hosts.next(), hosts.count()) {
            // HTTP/1.0 has no such header, and no browser speaks it any more.
            (None, _) if request.version() < Version::HTTP_11 => Ok(()),
            (None, _) => Err(HostError::Count(0)),
            (Some(host), 0) => {
                let authority = Authority::try_from(host.as_bytes()).map_err(|_| HostError::Malformed)?;
                self.check_authority(&authority)
            }
            (Some(_), more) => Err(HostError::Count(1 + more)),
        }
    }

    fn check_authority(&self, authority: &Authority) -> Result<(), HostError> {
        if authority.as_str().contains('@') {
            return Err(HostError::Malformed);
        }
        let host = authority.host();
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let allowed = match literal.parse::<IpAddr>() {
            Ok(address) => self.any_address || address.is_loopback(),
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        let named = self.names.iter().any(|name| host.eq_ignore_ascii_case(name));
        if allowed || named { Ok(()) } else { Err(HostError::Refused) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(listen: &str, host: &str) -> Result<(), HostError> {
        let request = Request::builder().uri("/").header(header::HOST, host).body(()).unwrap();
        Hosts::new(listen.parse().unwrap(), vec![]).unwrap().check(&request)
    }

    #[test]
    fn names_that_are_allowed() {
        let hosts = |names: &[&str]| {
            Hosts::new([127, 0, 0, 1].into(), names.iter().map(|&name| name.into()).collect::<Vec<_>>())
        };
        let allowed = hosts(&["mine.example", "192.0.2.7", "[2001:db8::7]"]).unwrap();
        for (host, expected) in [
            ("mine.example", Ok(())),
            ("MINE.example:8480", Ok(())),
            ("192.0.2.7:80", Ok(())),
            ("[2001:db8::7]:80", Ok(())),
            ("localhost", Ok(())),
            ("other.mine.example", Err(HostError::Refused)),
            ("mine.example.evil.example", Err(HostError::Refused)),
            ("192.0.2.8", Err(HostError::Refused)),
        ] {
            let request = Request::builder().uri("/").header(header::HOST, host).body(()).unwrap();
            assert_eq!(allowed.check(&request), expected, "{host}");
        }
        for name in ["", "mine.example:80", "http://mine.example", "mine.example/", "a@mine.example", "a b"] {
            assert_eq!(hosts(&["mine.example", name]).unwrap_err(), HostNameError(name.into()));
        }
    }

    #[test]
    fn this_machine_has_these_names() {
        for listen in ["127.0.0.1", "::1", "0.0.0.0", "192.0.2.7"] {
            for host in
                ["localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:8480", "127.1.2.3:1", "[::1]", "[::1]:8480"]
            {
                assert_eq!(check(listen, host), Ok(()), "{host} at {listen}");
            }
        }
    }

    #[test]
    fn other_addresses_only_where_others_can_reach() {
        for host in ["192.0.2.7:8480", "[2001:db8::7]", "10.0.0.1"] {
            assert_eq!(check("127.0.0.1", host), Err(HostError::Refused), "{host}");
            assert_eq!(check("0.0.0.0", host), Ok(()), "{host}");
            assert_eq!(check("192.0.2.7", host), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_names_never() {
        for listen in ["127.0.0.1", "0.0.0.0"] {
            for host in
                ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "localhost.", "2130706433"]
            {
                assert_eq!(check(listen, host), Err(HostError::Refused), "{host} at {listen}");
            }
            for host in ["", "a b", "user@127.0.0.1"] {
                assert_eq!(check(listen, host), Err(HostError::Malformed), "{host:?} at {listen}");
            }
        }
    }

    #[test]
    fn one_host_is_expected_and_the_request_line_counts_too() {
        let hosts = Hosts::new("127.0.0.1".parse().unwrap(), vec![]).unwrap();
        let none = Request::builder().uri("/").body(()).unwrap();
        assert_eq!(hosts.check(&none), Err(HostError::Count(0)));
        let old = Request::builder().version(Version::HTTP_10).uri("/").body(()).unwrap();
        assert_eq!(hosts.check(&old), Ok(()));
        let two =
            Request::builder().uri("/").header("host", "localhost").header("host", "evil.example").body(()).unwrap();
        assert_eq!(hosts.check(&two), Err(HostError::Count(2)));
        let absolute = Request::builder().uri("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert_eq!(hosts.check(&absolute), Err(HostError::Refused));
    }
}
