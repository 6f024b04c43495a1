//! `tunnel-client audit verify`: whether files of audit records are whole.
//!
//! It reads the files in the order given, the oldest first, and names the first place where the chain breaks. The end
//! of a file may lack a part of its last line after a crash, which is told and is no break.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::ExitCode;

use crate::audit::chain::{Head, LINE_BYTES_MAX, Link, is_digest, is_torn_line};
use crate::config::Flags;
use crate::config::settings::{Kind, Row};
use crate::ops::os_text;

use super::{Failure, print};

#[rustfmt::skip]
pub(super) const OPTIONS: &[Row] = &[
    Row::option("head", Kind::Text, "seq:digest", "",
        "A head of the chain as the log has it: the record of this number must be there, with this digest"),
];

/// What is known of the chain so far.
#[derive(Default)]
struct Reading {
    first: u64,
    /// The last record, and where it stands.
    last: Option<(Head, String)>,
    wanted: Option<Head>,
    /// Whether the wanted head was found.
    found: bool,
    records: u64,
    notes: String,
}

/// Reads all files and says what they hold.
pub(super) fn verify(flags: &Flags) -> Result<ExitCode, Failure> {
    let wanted = match flags.option("head") {
        "" => None,
        text => Some(head(text).ok_or_else(|| {
            Failure("--head must be a number and a digest of 64 hexadecimal digits, parted by a colon".into())
        })?),
    };
    let mut reading = Reading { wanted, ..Reading::default() };
    for path in flags.arguments() {
        reading.file(Path::new(path)).map_err(Failure)?;
    }
    let (notes, records, files) = (reading.notes, reading.records, flags.arguments().len());
    let (first, last) = (reading.first, reading.last.map(|(last, _)| last));
    // Before the first record there is a head too, which every chain from its beginning has.
    let wanted = reading.wanted.filter(|wanted| !reading.found && (first > 1 || *wanted != Head::default()));
    if let Some(Head { seq, .. }) = wanted {
        let held =
            last.as_ref().map_or("no record".into(), |last| format!("records {first} to {}", last.seq));
        return Err(Failure(format!("{notes}record {seq} is not there: the files hold {held}")));
    }
    let Some(last) = last else {
        return Ok(print(&format!("{notes}no record in {files} file(s)\n")));
    };
    Ok(print(&format!(
        "{notes}{records} records in {files} file(s) are whole: {first} to {}\nhead {last}\n",
        last.seq
    )))
}

/// A head as the log has it.
fn head(text: &str) -> Option<Head> {
    let (seq, digest) = text.split_once(':')?;
    let digest = digest.to_ascii_lowercase();
    Some(Head { seq: seq.parse().ok()?, digest }).filter(|head| is_digest(&head.digest))
}

impl Reading {
    /// Reads one file. Fails with the place of the first break.
    fn file(&mut self, path: &Path) -> Result<(), String> {
        let shown = path.display();
        let unread = |error: std::io::Error| format!("read {shown}: {}", os_text(&error));
        let mut lines = BufReader::new(File::open(path).map_err(unread)?);
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let count = lines.by_ref().take(limit).read_until(b'\n', &mut line).map_err(unread)?;
            let place = format!("{shown}:{number}");
            match line.strip_suffix(b"\n") {
                Some(line) => self.line(line, &place).map_err(|why| format!("{place}: {why}"))?,
                None if count == 0 => return Ok(()),
                None if count < LINE_BYTES_MAX && is_torn_line(&line) => {
                    self.notes.push_str(&format!(
                        "{place}: cut off after {count} bytes, as by a crash; the records before it are whole\n"
                    ));
                    return Ok(());
                }
                None => return Err(format!("{place}: not an audit record")),
            }
        }
        Ok(())
    }

    /// Reads one line.
    fn line(&mut self, line: &[u8], place: &str) -> Result<(), String> {
        let link = Link::read(line).ok_or("not an audit record")?;
        if let Some((last, before)) = &self.last {
            if last.seq.checked_add(1) != Some(link.seq) {
                return Err(match link.seq {
                    1 => "a new chain begins here; verify its files alone".into(),
                    seq if seq > last.seq => {
                        format!(
                            "record {seq} follows record {} of {before}: {} are missing",
                            last.seq,
                            seq - last.seq - 1
                        )
                    }
                    seq => {
                        format!("record {seq} follows record {} of {before}: the order is wrong", last.seq)
                    }
                });
            }
            if link.prev != last.digest {
                return Err(format!("it was not written behind {before}: one of the two was changed"));
            }
        } else {
            self.first = link.seq;
            if link.seq == 1 && link.prev != Head::default().digest {
                return Err("the first record of all names one before it: it was changed".into());
            }
        }
        let head = Head::of(line, link.seq);
        if let Some(wanted) = self.wanted.as_ref().filter(|wanted| wanted.seq == link.seq) {
            if wanted.digest != head.digest {
                return Err(format!(
                    "record {} is not the one that --head names: the chain was changed",
                    link.seq
                ));
            }
            self.found = true;
        }
        self.records += 1;
        self.last = Some((head, place.to_owned()));
        Ok(())
    }
}
