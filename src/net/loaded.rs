//! What is known of the certificates that are in force: from when to when they hold, and since when they are loaded.
//!
//! No name is kept of them. What does not parse is passed over: TLS has judged it by then.

use rustls_pki_types::{CertificateDer, UnixTime};

use super::der;
use super::validity::Validity;

/// Certificates of one purpose as they are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// Of the one among them that ends first.
    pub validity: Validity,
    /// When they were read, in seconds from the epoch.
    pub at: u64,
}

impl Loaded {
    /// What is read now. A client is refused as soon as one part of its chain has ended; of a bundle, those that have ended
    /// are a rest, unless all have.
    pub(super) fn now(certificates: &[CertificateDer<'static>], is_bundle: bool) -> Option<Loaded> {
        let at = UnixTime::now().as_secs();
        let all = certificates.iter().filter_map(|one| der::validity(one));
        let validity = all.min_by_key(|one| (is_bundle && one.not_after < at, one.not_after))?;
        Some(Loaded { validity, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_counts_in_a_chain_and_not_in_a_bundle() {
        let ends = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 7, 1);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
        };
        let [old, older, near, far] = [2002, 2001, 2400, 2500].map(ends);
        let end = |loaded: Option<Loaded>| loaded.map(|loaded| loaded.validity.not_after / 31_556_952 + 1970);
        let mixed = [far, old.clone(), near];
        assert_eq!(
            (end(Loaded::now(&mixed, false)), end(Loaded::now(&mixed, true))),
            (Some(2002), Some(2400))
        );
        assert_eq!(end(Loaded::now(&[old, older], true)), Some(2001));
        assert_eq!((Loaded::now(&[], false), Loaded::now(&[vec![1].into()], true)), (None, None));
    }
}
