//! Certificates, against a reader of DER that makes a tree first and looks for fields later.

use super::der::{self, Summary};

/// An element of DER and what is in it.
struct Element<'a> {
    tag: u8,
    body: &'a [u8],
}

/// All elements of these bytes; `None` when they do not end with one.
fn elements(mut bytes: &[u8]) -> (Vec<Element<'_>>, bool) {
    let mut all = Vec::new();
    while bytes.len() >= 2 {
        let (tag, first) = (bytes[0], usize::from(bytes[1]));
        let (start, length) = if first < 128 {
            (2, first)
        } else {
            let count = first - 128;
            if count == 0 || count > 3 || bytes.len() < 2 + count {
                return (all, false);
            }
            (2 + count, bytes[2..2 + count].iter().fold(0, |sum, byte| sum * 256 + usize::from(*byte)))
        };
        if bytes.len() < start + length {
            return (all, false);
        }
        all.push(Element { tag, body: &bytes[start..start + length] });
        bytes = &bytes[start + length..];
    }
    (all, bytes.is_empty())
}

/// The fields that are shown, from the first certificate that the bytes begin with.
fn expected(bytes: &[u8]) -> Option<(String, String, String)> {
    let (outer, _) = elements(bytes);
    let outer = outer.first().filter(|one| one.tag == 0x30)?;
    let (parts, _) = elements(outer.body);
    let signed = parts.first().filter(|one| one.tag == 0x30)?;
    let (mut fields, _) = elements(signed.body);
    if fields.first()?.tag == 0xa0 {
        fields.remove(0);
        fields.first().filter(|one| one.tag == 2)?;
    }
    // The serial number, then algorithm, issuer, validity and subject.
    let [_, algorithm, issuer, validity, subject] = fields.get(..5)? else { return None };
    if [algorithm, issuer, validity, subject].iter().any(|one| one.tag != 0x30) {
        return None;
    }
    let (dates, _) = elements(validity.body);
    let dates = dates.get(..2)?;
    let [_, last] = [date(&dates[0])?, date(&dates[1])?];
    Some((name(issuer.body)?, name(subject.body)?, last))
}

/// A date as it is shown.
fn date(element: &Element<'_>) -> Option<String> {
    let text = std::str::from_utf8(element.body).ok()?;
    let text = match (element.tag, text.len()) {
        (0x17, 13) => format!("{}{text}", if text.as_bytes()[0] < b'5' { "20" } else { "19" }),
        (0x18, 15) => text.to_owned(),
        _ => return None,
    };
    let (digits, zone) = text.split_at_checked(14)?;
    if zone != "Z" || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    crate::calendar::seconds(digits)?;
    let part = |from: usize, to: usize| &digits[from..to];
    Some(format!(
        "{}-{}-{} {}:{}:{} UTC",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}

/// The common name, or what else is known of a name.
fn name(sequence: &[u8]) -> Option<String> {
    let mut known = Vec::new();
    let (sets, sets_whole) = elements(sequence);
    for set in &sets {
        let (attributes, whole) = elements(set.body);
        for attribute in &attributes {
            let (parts, _) = elements(attribute.body);
            let legal = set.tag == 0x31 && attribute.tag == 0x30;
            let [identifier, value] = parts.get(..2).filter(|_| legal)? else { return None };
            if identifier.tag != 6 {
                return None;
            }
            let shown =
                |value: &[u8]| crate::text::bounded(&String::from_utf8_lossy(value), 128).replace('"', "?");
            match identifier.body {
                [0x55, 4, 3] => return Some(shown(value.body)),
                [0x55, 4, 6] => known.push(format!("C={}", shown(value.body))),
                [0x55, 4, 10] => known.push(format!("O={}", shown(value.body))),
                [0x55, 4, 11] => known.push(format!("OU={}", shown(value.body))),
                _ => {}
            }
        }
        if !whole || set.tag != 0x31 {
            return None;
        }
    }
    match known.is_empty() {
        _ if !sets_whole => None,
        true => Some("(no name)".into()),
        false => Some(known.join(", ")),
    }
}

/// Reads what may be a certificate.
pub fn run(data: &[u8]) {
    let read =
        der::summarise(data).map(|Summary { issuer, subject, not_after, .. }| (issuer, subject, not_after));
    assert_eq!(read, expected(data));
}

#[cfg(test)]
mod tests {
    #[test]
    fn certificates_that_are_made_here_are_read_alike() {
        for names in [&[(rcgen::DnType::CommonName, "a")][..], &[(rcgen::DnType::OrganizationName, "o")], &[]]
        {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            names.iter().for_each(|(kind, name)| params.distinguished_name.push(kind.clone(), *name));
            let certificate = params.self_signed(&key).unwrap();
            super::run(certificate.der());
            assert!(super::expected(certificate.der()).is_some());
        }
    }
}
