//! The running side of a tunnel, asked over its listener.

use std::path::Path;

use crate::config::glimpse::Glimpse;
use crate::config::read_text;
use crate::ops::os_text;

use super::super::health::peer::Peer;
use super::super::place;
use super::Bundle;

/// Longest file with an address.
const URL_BYTES_MAX: u64 = 8192;

/// What it said.
pub(super) struct Running {
    base: String,
    verdict: String,
    support: Result<String, String>,
    health: Result<String, String>,
    metrics: Result<String, String>,
}

/// Asks the first listener that answers. Why none does is said of each.
pub(super) fn ask(found: &Glimpse) -> Result<Running, String> {
    let mut why = Vec::new();
    for place in places(found) {
        match place.and_then(|base| Running::at(&base)) {
            Ok(running) => return Ok(running),
            Err(error) => why.push(error),
        }
    }
    Err(why.join("; "))
}

/// Addresses at which the tunnel may answer: those of its settings, and that of the packaged unit.
fn places(found: &Glimpse) -> Vec<Result<String, String>> {
    let [socket, url_file, address] = &found.listener;
    let mut places: Vec<Result<String, String>> = Vec::new();
    places.extend(socket.iter().map(|path| place::of_socket(Path::new(path))));
    places.extend(url_file.iter().map(|path| {
        let text = read_text(Path::new(path), URL_BYTES_MAX).map(|text| text.trim().to_owned());
        text.map_err(|error| format!("{path}: {}", os_text(&error)))
    }));
    let name = found.source.path.as_ref().and_then(|path| path.file_stem()?.to_str());
    let of_unit = name.map(|name| format!("/run/tunnel-client/{name}/health.sock"));
    let of_unit = of_unit.filter(|path| Path::new(path).exists());
    places.extend(of_unit.map(|path| place::of_socket(Path::new(&path))));
    if socket.is_none() {
        let address = address.as_deref().unwrap_or_default();
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        let host = if ["", "0.0.0.0", "[::]"].contains(&host) { "127.0.0.1" } else { host };
        places.push(match port {
            "0" => {
                Err("health.listen-addr leaves the port to the system, and health.url-file is not set"
                    .to_owned())
            }
            _ => Ok(format!("http://{host}:{port}")),
        });
    }
    places
}

impl Running {
    fn at(base: &str) -> Result<Running, String> {
        let (peer, shown) = (Peer::new(base), place::shown(base));
        let peer = peer.map_err(|error| format!("{shown}: {error}"))?;
        let alive = peer.page("/healthz");
        if !alive.ok {
            let status = alive.status.map(|status| format!("HTTP {status}")).unwrap_or_default();
            return Err(format!("{shown}: {}{status}", alive.error));
        }
        let ready = peer.page("/readyz");
        let verdict = format!("{} {}{}", ready.status.unwrap_or_default(), ready.body, ready.error);
        let health = peer.health();
        let health =
            if health.is_null() { Err("it shows none".to_owned()) } else { Ok(format!("{health:#}")) };
        Ok(Running { base: shown, verdict, support: peer.support(), health, metrics: peer.metrics() })
    }

    /// Adds what it said. Its own text for support holds the rest too.
    pub(super) fn add(self, bundle: &mut Bundle) {
        bundle.add(
            "running tunnel",
            &format!("asked at {}\nreadiness: {}", self.base, self.verdict),
            8 << 10,
        );
        match self.support {
            Ok(text) => bundle.add("what the running tunnel says", &text, 512 << 10),
            Err(why) => {
                bundle.add("what the running tunnel says", &format!("not available: {why}"), 1024);
                bundle.add_if("health", self.health, 128 << 10);
                bundle.add_if("metrics", self.metrics, 256 << 10);
            }
        }
    }
}
