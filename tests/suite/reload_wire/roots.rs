//! Authorities that are replaced: whom a tunnel believes afterwards.

use super::{reload, replace};
use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::rig::Rig;
use crate::support::temp::TempDir;

/// Two servers of two authorities, of which the tunnel trusts that whose certificate stands in a file.
fn trusted_one_after_the_other(trusting: impl FnOnce(Builder, &str) -> Builder) {
    let directory = TempDir::new();
    let authorities = [Authority::new("First CA"), Authority::new("Second CA")];
    let pem = authorities.each_ref().map(|authority| std::fs::read(authority.bundle()).unwrap());
    let file = directory.write("ca.pem", &pem[0]);
    let [first, second] = authorities.each_ref().map(|authority| Mcp::start_with(Some(authority.server())));
    let entry = format!("channel=side,url={}", second.url());
    let main = format!("channel=main,url={}", first.url());
    let rig = Rig::over(Plane::start(), first, |b| {
        trusting(b.set("mcp.server-url", &main).flag("mcp.server-url", &entry), &file)
    });
    let codes = || {
        let call = |id: &str| Command::method("ping", id);
        [call("1"), call("2").channel("side")].map(|command| rig.send(&command).code())
    };
    assert_eq!(codes(), [200, 502]);
    replace(&file, &pem[1]);
    reload(&rig.client, &file);
    // The connection to the first one rested, and is not used.
    assert_eq!(codes(), [502, 200]);
    // Both, as a site has it while it goes over.
    replace(&file, pem.concat());
    reload(&rig.client, &file);
    assert_eq!(codes(), [200, 200]);
}

#[test]
fn the_new_bundle_decides_whom_to_trust() {
    trusted_one_after_the_other(|b, file| b.flag("ca-bundle", file).flag("tls.roots", "none"));
}

#[test]
fn the_new_file_of_openssl_decides_whom_to_trust() {
    trusted_one_after_the_other(|b, file| b.env("SSL_CERT_FILE", file));
}
