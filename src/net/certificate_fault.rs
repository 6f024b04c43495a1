//! Fault of a certificate that was refused, for those who are to put it right.

use std::error::Error as StdError;
use std::io;

use rustls::CertificateError;

use super::error::Error;
use super::tls::is_of_authority;

/// Fault of a certificate that was refused: each is put right by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nobody who is trusted has signed it.
    UnknownIssuer,
    /// Its time is over.
    Expired,
    /// Its time has not begun.
    NotYetValid,
    /// It belongs to another host.
    WrongName,
    /// It is an authority's, and not one that a server may show.
    OfAuthority,
    /// Anything else.
    Other,
}

impl Error {
    /// Fault of the peer's certificate, when that is why.
    pub fn certificate(&self) -> Option<CertificateFault> {
        let cause = self.source()?.downcast_ref::<io::Error>()?.get_ref()?;
        match cause.downcast_ref()? {
            rustls::Error::InvalidCertificate(reason) => Some(fault(reason)),
            _ => None,
        }
    }
}

/// Class of a refusal, as far as it matters for what can be done about it.
fn fault(reason: &CertificateError) -> CertificateFault {
    match reason {
        CertificateError::UnknownIssuer => CertificateFault::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => CertificateFault::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFault::NotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        reason if is_of_authority(reason) => CertificateFault::OfAuthority,
        _ => CertificateFault::Other,
    }
}
