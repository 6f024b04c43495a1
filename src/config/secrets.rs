//! Which of the settings are secrets.
//!
//! The one list of them: what shows text to people hands it to the redactor first. A setting that holds a
//! secret and is missing here could end in a log.

use ureq::http::{HeaderMap, Uri};

use super::{Secret, Server, Settings};

impl Settings {
    /// Everything that was configured and must never be shown: whatever text these occur in, the log
    /// replaces them. The values of a query are among them because keys are put there.
    pub fn secrets(&self) -> Vec<Secret> {
        let plane = &self.control_plane;
        let mcp = &self.mcp;
        let mut found = vec![plane.api_key.clone()];
        for headers in [&plane.extra_headers, &mcp.extra_headers, &mcp.discovery_extra_headers] {
            found.extend(of_headers(headers));
        }
        let proxies = self.proxies().into_iter().flatten();
        found.extend(proxies.filter_map(|proxy| proxy.credentials.clone()));
        for binding in &mcp.bindings {
            match &binding.server {
                Server::Http(server) => {
                    found.extend(server.credentials.clone());
                    found.extend(of_query(&server.url));
                }
                Server::Stdio(server) => {
                    found.extend(server.environment.iter().map(|(_, value)| value.clone()));
                    // What it is passed is named and not set, but it can print it all the same.
                    let passed = server.pass.iter().filter_map(std::env::var_os);
                    found.extend(passed.map(|value| Secret::new(value.to_string_lossy().into_owned())));
                }
            }
        }
        #[cfg(feature = "page")]
        found.extend(self.admin_ui.token.clone());
        #[cfg(feature = "harpoon")]
        found.extend(self.harpoon.secrets());
        found
    }
}

#[cfg(feature = "harpoon")]
impl super::Harpoon {
    /// Those of Harpoon.
    fn secrets(&self) -> Vec<Secret> {
        let mut found: Vec<Secret> = self.token.iter().cloned().collect();
        for target in &self.targets {
            found.extend(of_headers(&target.headers).chain(of_query(&target.uri)));
        }
        found
    }
}

/// The values of headers.
fn of_headers(headers: &HeaderMap) -> impl Iterator<Item = Secret> {
    // Not `to_str`, which knows ASCII alone; all of them were written as text.
    let values = headers.values().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    values.map(|value| Secret::new(value.to_owned()))
}

/// The values of a query.
fn of_query(url: &Uri) -> impl Iterator<Item = Secret> {
    let pairs = url.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(_, value)| Secret::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, Flags, Request};

    #[test]
    fn what_servers_are_passed_is_known_to_the_log() {
        let path = std::env::temp_dir().join(format!("tunnel-client-secrets-{}.yaml", std::process::id()));
        let entry = "command: x\n      env: {A: set}\n      pass_env: [PATH, SURELY_ABSENT]";
        std::fs::write(&path, format!("mcp:\n  commands:\n    - {entry}\n")).unwrap();
        let Ok(Request::Run(flags)) = Flags::parse(&["--config", path.to_str().unwrap()]) else { panic!() };
        let environment = Environment::of([
            ("CONTROL_PLANE_TUNNEL_ID", "tunnel_abcdefghijklmnopqrstuvwxyz012345"),
            ("CONTROL_PLANE_API_KEY", "sk-runtime_1"),
        ]);
        let settings = Settings::load(&flags, &environment).unwrap();
        let known: Vec<String> = settings.secrets().iter().map(|s| s.expose().to_owned()).collect();
        assert_eq!(known, ["sk-runtime_1", "set", &std::env::var("PATH").unwrap()]);
    }
}
