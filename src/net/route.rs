//! Route to a destination: directly, through a unix socket or through a proxy, and why so.
//!
//! A pure decision: the first proxy that was configured for the purpose wins, then the environment's; both
//! yield to `NO_PROXY`, and the environment's never applies to this machine itself. It is made for every
//! connection anew and depends on settings alone, so what the start-up log says of a route stays true.

use std::path::{Path, PathBuf};

use super::no_proxy::{NoProxy, is_loopback};
use crate::config::{EnvironmentProxies, Network, Origin, Proxy};

/// Route to a destination in words, and why it is so.
#[derive(Debug, Clone)]
pub struct Route {
    /// `host:port` of the destination.
    pub destination: String,
    /// The proxy in use, `http://host:port` without credentials.
    pub proxy: Option<String>,
    /// Origin of the decision: a setting's name, `environment`, `NO_PROXY`, `unix socket`, `none`.
    pub reason: String,
    /// The item of `NO_PROXY` that covers the destination, when that decided.
    #[cfg_attr(not(feature = "operator"), allow(dead_code))]
    pub exception: Option<String>,
}

/// Everything that decides about routes of one purpose.
#[derive(Debug)]
pub(super) struct Routes {
    unix_socket: Option<PathBuf>,
    explicit: Option<Proxy>,
    environment: EnvironmentProxies,
    no_proxy: NoProxy,
}

/// Route to a destination.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// Straight to the destination, with the reason why no proxy is used.
    Direct(&'static str),
    /// Through this unix socket.
    Unix(&'a Path),
    /// Through this proxy, with the setting that names it.
    Proxy(&'a Proxy, &'a str),
}

impl Routes {
    /// `own` lists the proxy settings of the purpose, nearest first; the global one comes last. A unix socket
    /// beats them all: what it leads to is on this machine, whatever the URL's host says.
    pub(super) fn new(unix_socket: Option<PathBuf>, own: &[&Option<Proxy>], network: &Network) -> Routes {
        Routes {
            unix_socket,
            explicit: own.iter().copied().chain([&network.proxy]).find_map(Clone::clone),
            environment: network.environment.clone(),
            no_proxy: NoProxy::parse(&network.environment.no_proxy),
        }
    }

    /// Route to `destination`.
    pub(super) fn way(&self, destination: &Origin) -> Way<'_> {
        if let Some(path) = &self.unix_socket {
            return Way::Unix(path);
        }
        let of_environment = if destination.tls { &self.environment.https } else { &self.environment.http };
        // Explicit proxies do apply to this machine: whoever named one may mean it.
        let local = is_loopback(&destination.host);
        let chosen = match (&self.explicit, of_environment) {
            (Some(proxy), _) => Way::Proxy(proxy, &proxy.label),
            (None, Some(proxy)) if !local => Way::Proxy(proxy, "environment"),
            _ => return Way::Direct("none"),
        };
        if self.exception(destination).is_some() { Way::Direct("NO_PROXY") } else { chosen }
    }

    /// The first item of `NO_PROXY` that covers `destination`.
    fn exception(&self, destination: &Origin) -> Option<&str> {
        self.no_proxy.covering(&destination.host, destination.port)
    }

    /// Route to `destination` in words.
    pub(super) fn describe(&self, destination: &Origin) -> Route {
        let (proxy, reason) = match self.way(destination) {
            Way::Direct(reason) => (None, reason),
            Way::Unix(_) => (None, "unix socket"),
            Way::Proxy(proxy, label) => (Some(proxy_url(proxy)), label),
        };
        Route {
            destination: destination.authority(),
            proxy,
            reason: reason.to_owned(),
            exception: self.exception(destination).filter(|_| reason == "NO_PROXY").map(str::to_owned),
        }
    }
}

/// `http://host:port` without credentials: the only form in which a proxy appears in texts.
pub(super) fn proxy_url(proxy: &Proxy) -> String {
    let scheme = if proxy.origin.tls { "https" } else { "http" };
    format!("{scheme}://{}", proxy.origin.authority())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(host: &str, label: &str) -> Option<Proxy> {
        let origin = Origin { tls: false, host: host.into(), port: 3128 };
        Some(Proxy { origin, credentials: None, label: label.into() })
    }

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    fn reason(routes: &Routes, url: &str) -> (Option<String>, String) {
        let route = routes.describe(&origin(url));
        (route.proxy, route.reason)
    }

    #[test]
    fn own_before_global_before_environment() {
        let environment = EnvironmentProxies {
            http: None,
            https: proxy("env", "HTTPS_PROXY"),
            no_proxy: "internal.test,10.0.0.0/8".into(),
        };
        let own = proxy("own", "control-plane.http-proxy");
        let global = proxy("global", "http-proxy");
        let mut network = Network { environment, proxy: global, ..Network::default() };
        let routes = Routes::new(None, &[&own], &network);
        assert_eq!(
            reason(&routes, "https://a.test"),
            (Some("http://own:3128".into()), "control-plane.http-proxy".into())
        );
        assert_eq!(
            reason(&routes, "http://localhost"),
            (Some("http://own:3128".into()), "control-plane.http-proxy".into())
        );
        assert_eq!(reason(&routes, "https://x.internal.test"), (None, "NO_PROXY".into()));
        let routes = Routes::new(None, &[&None], &network);
        assert_eq!(reason(&routes, "https://a.test").1, "http-proxy");
        network.proxy = None;
        let routes = Routes::new(None, &[&None], &network);
        assert_eq!(reason(&routes, "https://a.test").1, "environment");
        assert_eq!(reason(&routes, "https://127.0.0.1:1"), (None, "none".into()));
        assert_eq!(reason(&routes, "http://a.test"), (None, "none".into()));
        assert_eq!(reason(&routes, "https://10.1.1.1"), (None, "NO_PROXY".into()));
        let routes = Routes::new(Some("/s".into()), &[&own], &network);
        assert_eq!(reason(&routes, "https://a.test"), (None, "unix socket".into()));
    }

    #[test]
    fn authorities_have_brackets_where_needed() {
        let origin = origin("HTTPS://[::1]/x");
        assert_eq!(origin, Origin { tls: true, host: "::1".into(), port: 443 });
        assert_eq!(origin.authority(), "[::1]:443");
    }
}
