//! DER reader for issuer, subject and validity of a certificate: what an operator needs to know of a refused one,
//! and of their own before they end.
//!
//! Every length is checked against what is left, nothing recurses, and whatever does not parse gives `None`.
//! The bytes may be a peer's: names are shown to a person and used for nothing else; dates only ever refuse
//! what was accepted otherwise.

use super::validity::Validity;
use crate::calendar::seconds;
use crate::text;

/// Issuer, subject and validity of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Authority that signed it.
    pub issuer: String,
    /// Holder that it names.
    pub subject: String,
    /// Its last moment, as `2026-01-31 23:59:59 UTC`.
    pub not_after: String,
    /// Its first and last moment, for a reckoning.
    pub validity: Validity,
}

/// Reads the summary of a DER certificate.
pub(super) fn summarise(certificate: &[u8]) -> Option<Summary> {
    let Fields { issuer, validity: [_, (tag, text)], subject } = fields(certificate)?;
    let shown = digits(tag, text)?;
    let mut digits = shown.chars();
    let shown = "####-##-## ##:##:## UTC".chars().map(|c| if c == '#' { digits.next() } else { Some(c) });
    let (not_after, validity) = (shown.collect::<Option<_>>()?, validity(certificate)?);
    Some(Summary { issuer: name(issuer)?, subject: name(subject)?, not_after, validity })
}

/// Reads the first and the last second of a DER certificate, counted from the epoch. Dates before it are the
/// epoch itself.
pub(super) fn validity(certificate: &[u8]) -> Option<Validity> {
    let [first, last] = fields(certificate)?.validity.map(|(tag, text)| seconds(&digits(tag, text)?));
    Some(Validity { not_before: first?, not_after: last? })
}

/// The fields of a certificate that matter here, undecoded; dates with their tags.
struct Fields<'a> {
    issuer: &'a [u8],
    validity: [(u8, &'a [u8]); 2],
    subject: &'a [u8],
}

/// Finds the fields (RFC 5280, 4.1): version, serial number, algorithm, issuer, validity and subject, in this
/// order. What follows the subject is not looked at.
fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let mut outer = Reader(Reader(certificate).want(SEQUENCE)?);
    let mut fields = Reader(outer.want(SEQUENCE)?);
    // Version 1 certificates begin with the serial number itself.
    let (tag, _) = fields.element()?;
    if tag == EXPLICIT_VERSION {
        fields.want(INTEGER)?;
    }
    fields.want(SEQUENCE)?;
    let issuer = fields.want(SEQUENCE)?;
    let mut validity = Reader(fields.want(SEQUENCE)?);
    let validity = [validity.element()?, validity.element()?];
    Some(Fields { issuer, validity, subject: fields.want(SEQUENCE)? })
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;

/// `2.5.4.n` as encoded; the last byte tells the attribute.
const ATTRIBUTE_PREFIX: [u8; 2] = [0x55, 0x04];
const COMMON_NAME: u8 = 3;
/// Attributes that replace a missing common name.
const LABELS: [(u8, &str); 3] = [(6, "C"), (10, "O"), (11, "OU")];

/// A name longer than this is cut: it comes from outside and ends up in a log line.
const NAME_MAX_BYTES: usize = 128;

/// Takes one element after another from the front: a tag, a length, and that many bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            // Long form. Three length bytes reach 16 MiB, more than any certificate that TLS passes on, and
            // cannot overflow. No length at all (0x80) is BER's indefinite form, which DER forbids.
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 3 {
                return None;
            }
            let (bytes, after) = rest.split_at_checked(count)?;
            length = bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            rest = after;
        }
        let (body, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some((tag, body))
    }

    fn want(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.element().filter(|(tag, _)| *tag == wanted).map(|(_, body)| body)
    }
}

/// The common name, or the other known attributes when there is none: public authorities have one, home-made
/// ones often have an organisation only. What is unknown is skipped.
fn name(sequence: &[u8]) -> Option<String> {
    let mut sets = Reader(sequence);
    let mut parts = Vec::new();
    while !sets.0.is_empty() {
        let mut set = Reader(sets.want(SET)?);
        while !set.0.is_empty() {
            let mut attribute = Reader(set.want(SEQUENCE)?);
            let identifier = attribute.want(OBJECT_IDENTIFIER)?;
            let (_, value) = attribute.element()?;
            let Some(&[last]) = identifier.strip_prefix(&ATTRIBUTE_PREFIX) else {
                continue;
            };
            if last == COMMON_NAME {
                return Some(shown(value));
            }
            let label = LABELS.iter().find(|(attribute, _)| *attribute == last);
            parts.extend(label.map(|(_, label)| format!("{label}={}", shown(value))));
        }
    }
    Some(if parts.is_empty() { "(no name)".to_owned() } else { parts.join(", ") })
}

/// A name as it may stand in a log line. The string types differ in their alphabets; all that are in use are
/// read as UTF-8, and what is not comes out as marks that still show which authority is meant.
fn shown(value: &[u8]) -> String {
    text::bounded(&String::from_utf8_lossy(value), NAME_MAX_BYTES).replace('"', "?")
}

/// The fourteen digits of a date, from the year to the second.
fn digits(tag: u8, text: &[u8]) -> Option<String> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Two-digit years below 50 belong to this century (RFC 5280, 4.1.2.5.1).
        UTC_TIME => format!("{}{digits}", if digits < "5" { "20" } else { "19" }),
        GENERALIZED_TIME => digits.to_owned(),
        _ => return None,
    };
    // Seconds must be there, fractions must not (RFC 5280, 4.1.2.5.2).
    (full.len() == 14 && full.bytes().all(|byte| byte.is_ascii_digit())).then_some(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(edit: impl Fn(&mut rcgen::CertificateParams)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 3);
        params.distinguished_name = rcgen::DistinguishedName::new();
        edit(&mut params);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_common_name_is_preferred() {
        let der = certificate(|params| {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Org");
            params.distinguished_name.push(rcgen::DnType::CommonName, "Corp\nRoot");
        });
        let summary = summarise(&der).unwrap();
        assert_eq!(summary.issuer, "Corp\\nRoot");
        assert_eq!(summary.subject, "Corp\\nRoot");
        assert_eq!(summary.not_after, "2031-02-03 00:00:00 UTC");
    }

    #[test]
    fn without_a_common_name_the_rest_is_shown() {
        let der = certificate(|params| {
            params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "Org");
            params.not_after = rcgen::date_time_ymd(2055, 1, 1);
        });
        let summary = summarise(&der).unwrap();
        assert_eq!(summary.subject, "C=DE, O=Org");
        assert!(summary.not_after.starts_with("2055-01-01"));
        assert_eq!(summarise(&certificate(|_| ())).unwrap().subject, "(no name)");
    }

    #[test]
    fn both_ends_are_read() {
        let der = certificate(|params| params.not_before = rcgen::date_time_ymd(2000, 2, 29));
        let both = Validity { not_before: 951_782_400, not_after: 1_927_843_200 };
        assert_eq!(validity(&der), Some(both));
        assert_eq!(summarise(&der).unwrap().validity, both);
    }

    #[test]
    fn no_truncation_or_flip_panics() {
        let der = certificate(|params| params.distinguished_name.push(rcgen::DnType::CommonName, "x"));
        for cut in 0..der.len() {
            summarise(&der[..cut]);
            validity(&der[..cut]);
            for bit in [0x01, 0x80, 0xff] {
                let mut flipped = der.clone();
                flipped[cut] ^= bit;
                summarise(&flipped);
                validity(&flipped);
            }
        }
    }
}
