//! What the library that the program was built with makes of keys, versions and FIPS; the peers have ring.

use std::process::Command;

use rcgen::KeyPair;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::peers::*;
use crate::crypto;
use crate::net::{Kind, Net};

const VERSIONS: [(&SupportedProtocolVersion, &str); 2] =
    [(&TLS12, "TLSv1_2, TLS_ECDHE_"), (&TLS13, "TLSv1_3, TLS13_")];

/// One of each kind that people have, where the library has it and something here can make it.
fn keys() -> Vec<(&'static str, KeyPair)> {
    let mut keys = vec![
        ("P-256", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()),
        ("P-384", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()),
    ];
    // ring makes no RSA, and an Ed25519 with its public half in the file, which OpenSSL 3.0 does not read.
    for kind in ["RSA", "Ed25519"] {
        // Younger than most validated modules.
        if kind == "Ed25519" && crypto::provider().fips() {
            continue;
        }
        let made = Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", kind]).output();
        match made.ok().filter(|made| made.status.success()) {
            Some(made) => {
                keys.push((kind, KeyPair::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap()));
            }
            None => eprintln!("skipped: no openssl to make a key of {kind}"),
        }
    }
    keys
}

#[test]
fn keys_of_every_kind_prove_who_both_sides_are() {
    let authority = Authority::new("Corp CA");
    let network = network(Some(&authority.bundle()));
    for (kind, key) in keys() {
        for (version, agreed) in VERSIONS {
            let setup = authority.server_of(&key, version);
            let url = format!("https://127.0.0.1:{}/", serve_with(Some(setup), echo));
            let mut with = server(&url);
            with.identity = Some(authority.identity_of(kind, &key));
            let client = client(&network, &with).unwrap();
            assert_eq!(client.agreed(), "");
            get(&client, &url).unwrap_or_else(|error| panic!("{kind}, {agreed}: {error}"));
            assert!(client.agreed().starts_with(agreed), "{kind}: {}", client.agreed());
        }
    }
}

#[test]
fn fips_is_refused_where_nothing_reports_it() {
    let network = crate::config::Network { require_fips: true, ..network(None) };
    let made = Net::new(&network);
    if crypto::provider().fips() {
        made.unwrap();
        return;
    }
    let error = made.unwrap_err();
    assert_eq!(error.kind, Kind::Setup);
    let start = format!("tls.require_fips is set, but cryptography is {}: ", crypto::described());
    assert!(error.to_string().starts_with(&start), "{error}");
    assert!(error.to_string().ends_with(", or leave the setting out"), "{error}");
}
