//! Which library computes, what it says of FIPS, and what TLS agreed on.

use crate::support::certs::Authority;
use crate::support::client::Builder;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::rig::Rig;

/// The library of this build, as the program begins to name it.
const LIBRARY: &str = if cfg!(feature = "openssl") { "OpenSSL 3." } else { "ring, not in FIPS mode" };

/// Whether this build could be in FIPS mode here, where the refusals below would be wrong.
fn may_be_in_fips_mode() -> bool {
    let kernel = std::fs::read_to_string("/proc/sys/crypto/fips_enabled");
    cfg!(feature = "openssl") && kernel.is_ok_and(|mode| mode.trim() != "0")
}

fn start() -> Builder {
    Builder::run("http://127.0.0.1:1", "http://127.0.0.1:1/mcp")
}

/// `tls.require_fips` in every source refuses the start of the service before anybody is asked, and says what, where and
/// what to do.
#[test]
fn fips_can_be_required() {
    if may_be_in_fips_mode() {
        return;
    }
    let remedy = if cfg!(feature = "openssl") {
        "put the host, or OpenSSL by its configuration, into FIPS mode"
    } else {
        "install a build with the feature openssl"
    };
    for builder in [
        start().argument("--tls.require-fips"),
        start().env("TUNNEL_CLIENT_TLS_REQUIRE_FIPS", "true"),
        start().yaml("tls:\n  require_fips: true\n"),
        start().argument("--tls.require-fips").daemon(),
    ] {
        let (code, output) = builder.finish();
        assert_eq!(code, Some(1), "{output}");
        let complaint = format!("tls.require_fips is set, but cryptography is {LIBRARY}");
        assert!(output.contains(&complaint) && output.contains(remedy), "{output}");
        assert!(output.contains("(/proc/sys/crypto/fips_enabled: "), "{output}");
    }
}

/// The log names the library at the start, and what TLS agreed on with the control plane.
#[test]
fn library_and_agreement_are_in_the_log() {
    let authority = Authority::new("Test Root");
    let plane = Plane::start_with(Some(authority.server()));
    let rig = Rig::over(plane, Mcp::start(), |b| b.flag("ca-bundle", &authority.bundle()));
    let line = rig.client.wait_log(|line| line.contains("tls trust summary"));
    assert!(line.contains(LIBRARY), "{line}");
    let line = rig.client.wait_log(|line| line.contains("tunnel metadata fetched"));
    assert!(line.contains("TLSv1_3, TLS13_"), "{line}");
}

/// OpenSSL that is told to use validated code alone, and has none, computes nothing: the program makes nothing up and ends.
#[test]
#[cfg(feature = "openssl")]
fn without_a_module_nothing_is_made_up() {
    let directory = crate::support::temp::TempDir::new();
    directory.write(
        "openssl.cnf",
        "openssl_conf = init\n[init]\nproviders = providers\nalg_section = properties\n\
         [providers]\ndefault = default\n[default]\nactivate = 1\n[properties]\ndefault_properties = fips=yes\n",
    );
    let told =
        |builder: Builder| builder.env("OPENSSL_CONF", directory.join("openssl.cnf").to_str().unwrap());
    let (code, output) = told(start()).finish();
    assert!(code == Some(1) && output.contains("OpenSSL gave no random bytes: "), "{code:?}: {output}");
    // The digest of a profile is the first thing that is computed.
    let (code, output) = told(start().yaml("log:\n  level: info\n")).finish();
    assert!(code.is_none() && output.contains("cannot compute SHA-256: "), "{code:?}: {output}");
}
