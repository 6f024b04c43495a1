//! What a connection that could not be made means, and what to type next.
//!
//! Pure text by the class of the failure. The commands that it names are for a person to run; it runs none.
//!
//! No command that is named here changes anything, and none holds a secret: what is put into one is a host, a
//! port, a path or the name of a setting. Nothing is advised that would make a certificate pass unchecked;
//! such advice is followed once and forgotten for years. It cannot fail: a failure of an unknown class gets
//! the most general advice.

use std::path::Path;

use crate::net::{CertificateFault, Client, Error, Kind};
use crate::ops::shell_quoted;

use super::report::Check;

/// Why an address is refused.
pub(super) const FORBIDDEN: &str = "Others choose when this is called, so link-local, metadata, \
    multicast and reserved addresses are never dialled, whatever is set; and where a target has \
    allowed_networks, nothing outside of them.";

/// A destination, in the words of its settings.
pub(super) struct Destination<'a> {
    /// How it is reached.
    pub(super) client: Client,
    /// The setting that names it.
    pub(super) setting: &'static str,
    /// The setting of its proxy.
    pub(super) proxy: &'static str,
    /// What to do where it wants to be shown a certificate.
    pub(super) identity: &'static str,
    /// Whether TLS is spoken with it.
    pub(super) tls: bool,
    /// The socket that is dialled instead of its host.
    pub(super) socket: Option<&'a Path>,
}

impl Destination<'_> {
    /// How it is reached, in a sentence, with what TLS agreed on where it was spoken already.
    pub(super) fn way(&self) -> String {
        let route = self.client.route();
        let to = &route.destination;
        let way = match (&route.proxy, route.reason.as_str()) {
            // A proxy that came from a variable is the one that surprises: nobody wrote it for this program,
            // so the sentence says where it came from.
            (Some(proxy), "environment") => {
                format!(
                    "{to} through the proxy {proxy}, which the environment names and which resolves the name"
                )
            }
            (Some(proxy), reason) => {
                format!("{to} through the proxy {proxy}, set by {reason}, which resolves the name")
            }
            (None, "NO_PROXY") => format!(
                "{to} directly, because NO_PROXY holds {}",
                route.exception.as_deref().unwrap_or_default()
            ),
            (None, "unix socket") => format!("{to} through its unix socket"),
            (None, _) => format!("{to} directly, because no proxy is set for it"),
        };
        let agreed = self.client.agreed();
        if agreed.is_empty() { way } else { format!("{way}; {agreed}") }
    }

    /// The check that failed with `error`.
    pub(super) fn failed(&self, id: String, error: &Error) -> Check {
        let (why, next) = match error.certificate() {
            Some(fault) => self.certificate(fault),
            None if error.kind == Kind::AddressForbidden => self.address(),
            None => self.connection(error),
        };
        Check::fail(id, error.to_string(), why, next)
            .evidence([format!("failure: {} ({})", error.source_word(), error.kind_word()), self.way()])
    }

    /// What a certificate that was not accepted means. A fault of its dates is sent to the clock first: a
    /// machine without time finds every certificate invalid, and a new one would not help.
    fn certificate(&self, fault: CertificateFault) -> (&'static str, Vec<String>) {
        let look = self.look();
        match fault {
            CertificateFault::UnknownIssuer => (
                "No authority that is trusted here signed the certificate: a proxy on the way inspects TLS, or \
                 the server's authority is a private one.",
                vec![
                    "if that authority is yours: add --ca-bundle /path/to/its-certificate.pem (CA_BUNDLE)"
                        .into(),
                    format!("see the whole chain: {look}"),
                ],
            ),
            CertificateFault::Expired | CertificateFault::NotYetValid => (
                "A certificate outside of its time is never accepted.",
                vec![
                    "see whether this machine's clock is right: date -u".into(),
                    "have whoever runs the host renew the certificate".into(),
                    format!("see its dates: {look} | openssl x509 -noout -dates"),
                ],
            ),
            CertificateFault::WrongName => (
                "The certificate belongs to another name: the URL names the host differently, or something else \
                 answers in its place.",
                vec![
                    format!("use in {} a name that the certificate holds", self.setting),
                    format!("see its names: {look} | openssl x509 -noout -ext subjectAltName"),
                ],
            ),
            CertificateFault::OfAuthority => (
                "The certificate is an authority's, as a self-signed one often is. It is accepted only where it \
                 stands in ca_bundle itself.",
                vec![
                    "if it is your server's own: add --ca-bundle /path/to/that-certificate.pem (CA_BUNDLE)"
                        .into(),
                    "or have a certificate issued for the host, with CA:FALSE".into(),
                    format!("see it: {look}"),
                ],
            ),
            CertificateFault::Other => (
                "The certificate cannot be used, whoever signed it.",
                vec!["have another certificate issued for the host".into(), format!("see it: {look}")],
            ),
        }
    }

    /// What it means that the name resolved to what is not dialled. The address is not told, here or anywhere:
    /// who may resolve the name may see it.
    fn address(&self) -> (&'static str, Vec<String>) {
        let to = &self.client.route().destination;
        let host = to.rsplit_once(':').map_or(to.as_str(), |(host, _)| host);
        let next = vec![
            format!("see what the name resolves to: getent ahosts {host}"),
            format!("correct the host in {}, or its allowed_networks if that address is meant", self.setting),
        ];
        (FORBIDDEN, next)
    }

    /// What it means that nothing, or only a part, was exchanged. Whether the peer was asked tells one that
    /// hangs from a way that leads nowhere: the first is looked for in its log, the second in a firewall.
    fn connection(&self, error: &Error) -> (&'static str, Vec<String>) {
        let route = self.client.route();
        let (to, proxy) = (&route.destination, self.proxy);
        let host = |of: &str| of.rsplit_once(':').map_or(of, |(host, _)| host).to_owned();
        // What is resolved and dialled here, and who named it: the proxy, where there is one.
        let (dialled, named_by) = match &route.proxy {
            Some(proxy) if route.reason == "environment" => (proxy.clone(), "HTTP_PROXY and HTTPS_PROXY"),
            Some(proxy) => (proxy.clone(), route.reason.as_str()),
            None => (format!("{}://{to}", if self.tls { "https" } else { "http" }), self.setting),
        };
        // Quoted, because a path of the settings may hold whatever a shell would act on.
        let through =
            self.socket.map(|path| format!("--unix-socket {} ", shell_quoted(&path.to_string_lossy())));
        let curl = format!("curl -v --max-time 5 {}{dialled}/", through.unwrap_or_default());
        // A proxy that is set already, or a socket of this host, is not what is missing.
        let is_direct = route.proxy.is_none() && self.socket.is_none();
        let way_out = is_direct.then(|| format!("where only a proxy leads out: --{proxy} http://PROXY:PORT"));
        match error.kind {
            Kind::Dns => (
                "This machine cannot resolve the name. With a proxy it would not have to: the proxy resolves.",
                [format!("getent hosts {}", host(dialled.rsplit('/').next().unwrap_or_default()))]
                    .into_iter()
                    .chain(way_out)
                    .collect(),
            ),
            Kind::Refused | Kind::NoSuchSocket => {
                ("Nothing listens there.", vec![format!("check {named_by}, and start what it names"), curl])
            }
            Kind::Proxy(status) => self.refusal(status),
            Kind::NotTls => (
                "What answers on this port does not speak TLS: it may be an http server.",
                vec![format!(
                    "check scheme and port of {}: http:// where no TLS is spoken",
                    if error.proxy { named_by } else { self.setting }
                )],
            ),
            Kind::Tls => (
                "The other side ended the TLS handshake: it wants a client certificate, or does not speak TLS on \
                 this port.",
                vec![self.identity.into(), format!("see what it says: {}", self.look())],
            ),
            Kind::Timeout if error.request_sent => (
                "The connection stands and no whole answer came in time: the other side, or what it waits for, hangs.",
                vec![format!("see the log of what {named_by} names"), curl],
            ),
            Kind::Timeout | Kind::NetworkUnreachable | Kind::HostUnreachable => (
                "Nothing comes back: a firewall drops the packets, or the other side hangs.",
                [curl].into_iter().chain(way_out).collect(),
            ),
            _ => (
                "The connection does not carry a whole exchange: what answers may not be what was meant.",
                vec![format!("check scheme, host and port of {named_by}")],
            ),
        }
    }

    /// What it means that a proxy does not let the destination through.
    fn refusal(&self, status: u16) -> (&'static str, Vec<String>) {
        let (to, proxy) = (&self.client.route().destination, self.proxy);
        match status {
            407 => (
                "The proxy wants to know who asks.",
                vec![format!("put user:password@ into the proxy URL, by reference: --{proxy} env:PROXY_URL")],
            ),
            502..=504 => (
                "The proxy cannot reach the destination, or is out of order itself.",
                vec![format!("see the proxy's own log for {to}, or ask whoever runs it")],
            ),
            _ if !self.tls => (
                "The proxy does not let this destination through.",
                vec![format!(
                    "have {to} allowed on the proxy (CONNECT to its port, where it was asked for a tunnel), or \
                     reach it directly: NO_PROXY={}",
                    to.rsplit_once(':').map_or(to.as_str(), |(host, _)| host)
                )],
            ),
            _ => (
                "The proxy does not let this destination through.",
                vec![format!("have CONNECT to {to} allowed on the proxy")],
            ),
        }
    }

    /// The command that shows the certificates, through the proxy where there is one.
    fn look(&self) -> String {
        let route = self.client.route();
        let proxy = route.proxy.as_ref().and_then(|proxy| proxy.rsplit('/').next());
        let proxy = proxy.map(|proxy| format!(" -proxy {proxy}")).unwrap_or_default();
        format!("openssl s_client -connect {}{proxy} -showcerts </dev/null", route.destination)
    }
}
