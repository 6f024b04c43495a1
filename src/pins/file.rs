//! The pin file: the tools of each channel that the operator has accepted, as JSON made for review and for git.
//!
//! Whoever may write it decides what a model may call, so it is believed only when root or our user alone can. It is
//! sorted, one tool takes a few lines, and equal lists give equal bytes. A file in another order, or with a tool
//! twice, was not written here as a whole and is refused. Writing replaces it as a whole.

use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::config::trust;
#[cfg(feature = "operator")]
use crate::ops::files;

use super::definition::Tool;

/// Largest pin file; 4 096 tools with long names and titles take less.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The form of the file. One of another form means something that this program does not know.
const VERSION: u32 = 1;

/// Accepted tools.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pins {
    version: u32,
    /// Sorted by their names, each once.
    pub(crate) channels: Vec<Channel>,
}

/// Accepted tools of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Channel {
    pub(crate) channel: String,
    /// Sorted by their names, each once.
    pub(crate) tools: Vec<Tool>,
}

#[cfg(feature = "operator")]
impl Default for Pins {
    fn default() -> Pins {
        Pins { version: VERSION, channels: Vec::new() }
    }
}

impl Pins {
    /// Reads the file, with warnings about the directories on the way to it.
    pub(crate) fn read(path: &Path) -> io::Result<(Pins, Vec<String>)> {
        let found = trust::read(path, FILE_BYTES_MAX)?;
        Ok((Pins::parse(&found.bytes).map_err(io::Error::other)?, found.warnings))
    }

    fn parse(bytes: &[u8]) -> Result<Pins, String> {
        let pins: Pins = serde_json::from_slice(bytes).map_err(|error| {
            // Its own text could repeat what stands in the file.
            format!("line {}, column {}: not the JSON of a pin file", error.line(), error.column())
        })?;
        if pins.version != VERSION {
            return Err(format!("version {} is not known here; this program knows {VERSION}", pins.version));
        }
        let sorted =
            |names: Vec<&String>| names.iter().zip(names.iter().skip(1)).all(|(one, next)| one < next);
        let is_sorted = sorted(pins.channels.iter().map(|channel| &channel.channel).collect())
            && pins.channels.iter().all(|one| sorted(one.tools.iter().map(|tool| &tool.name).collect()));
        if !is_sorted {
            return Err(
                "channels and tools must be sorted by name, each once: run tunnel-client pins accept".into(),
            );
        }
        Ok(pins)
    }

    /// The accepted tools of a channel; none for one that was never accepted.
    pub(crate) fn of(&self, channel: &str) -> &[Tool] {
        let found = self.channels.iter().find(|known| known.channel == channel);
        found.map_or(&[], |channel| channel.tools.as_slice())
    }
}

#[cfg(feature = "operator")]
impl Pins {
    /// Accepts these tools in the place of all that were accepted of the channel.
    pub(crate) fn accept(&mut self, channel: &str, tools: Vec<Tool>) {
        self.channels.retain(|known| known.channel != channel);
        self.channels.push(Channel { channel: channel.to_owned(), tools });
        self.channels.sort_unstable_by(|one, other| one.channel.cmp(&other.channel));
    }

    /// Replaces the file. What could not be read again is not written.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let text = self.text();
        if u64::try_from(text.len()).is_ok_and(|bytes| bytes <= FILE_BYTES_MAX) {
            return files::write_shared(path, &text);
        }
        Err(io::Error::other("the tools of all channels take more than 16 MiB, which run would not read"))
    }

    /// The text of the file.
    fn text(&self) -> String {
        let mut out = format!("{{\n  \"version\": {},\n  \"channels\": [", self.version);
        for (at, channel) in self.channels.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            out.push_str(&format!(
                "{comma}\n    {{\n      \"channel\": {},\n      \"tools\": [",
                string(&channel.channel)
            ));
            for (at, tool) in channel.tools.iter().enumerate() {
                out.push_str(if at == 0 { "\n" } else { ",\n" });
                out.push_str(&entry(tool));
            }
            out.push_str(if channel.tools.is_empty() { "]\n    }" } else { "\n      ]\n    }" });
        }
        out.push_str(if self.channels.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
        out
    }
}

/// One tool, on a line for each member that a reviewer reads.
#[cfg(feature = "operator")]
fn entry(tool: &Tool) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or("null".to_owned(), string);
    let hint = tool.read_only_hint.map_or("null".to_owned(), |hint| hint.to_string());
    let parts: Vec<String> =
        tool.parts.iter().map(|(name, digest)| format!("{}: {}", string(name), string(digest))).collect();
    let members = [
        ("name", string(&tool.name)),
        ("title", text(&tool.title)),
        ("description", text(&tool.description)),
        ("readOnlyHint", hint),
        ("sha256", string(&tool.sha256)),
        ("parts", format!("{{{}}}", parts.join(", "))),
    ];
    let lines = members.map(|(name, value)| format!("          \"{name}\": {value}"));
    format!("        {{\n{}\n        }}", lines.join(",\n"))
}

/// A text in quotes. What would fool a reader of the review is escaped: a server chose it.
#[cfg(feature = "operator")]
fn string(text: &str) -> String {
    let mut out = String::new();
    crate::text::json(&mut out, text);
    out
}

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/pins.rs"]
pub(crate) mod fuzz;

#[cfg(feature = "operator")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::files::tests::Scratch;

    fn tools(names: &[&str]) -> Vec<Tool> {
        let definition = |name: &&str| format!(r#"{{"name":{},"description":"\u202e"}}"#, string(name));
        names.iter().map(|name| Tool::read(&definition(name)).unwrap()).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        let mut pins = Pins::default();
        assert_eq!(Pins::parse(pins.text().as_bytes()), Ok(pins.clone()));
        pins.accept("main", tools(&["a", "b\u{202e}\"\n"]));
        pins.accept("docs", Vec::new());
        pins.accept("main", tools(&["a", "b\u{202e}\"\n"]));
        let text = pins.text();
        assert_eq!(Pins::parse(text.as_bytes()), Ok(pins.clone()), "{text}");
        assert!(text.is_ascii() && text.contains(r#""name": "b\u202e\"\n""#), "{text}");
        assert_eq!((pins.of("main").len(), pins.of("docs").len(), pins.of("other").len()), (2, 0, 0));
    }

    #[test]
    fn what_could_not_be_read_is_not_written() {
        let scratch = Scratch::new("pins-large");
        let (path, mut pins) = (scratch.0.join("pins.json"), Pins::default());
        let all: Vec<Tool> =
            (0..4096).flat_map(|at| tools(&[&format!("{at:04}{}", "n".repeat(900))])).collect();
        (0..4).for_each(|channel| pins.accept(&channel.to_string(), all.clone()));
        assert!(pins.write(&path).unwrap_err().to_string().contains("16 MiB") && !path.exists());
        pins.channels.truncate(1);
        pins.write(&path).unwrap();
        assert_eq!(Pins::read(&path).unwrap().0, pins);
    }

    #[test]
    fn a_file_of_another_hand_is_refused() {
        let mut pins = Pins::default();
        pins.accept("main", tools(&["a", "b"]));
        let good = pins.text();
        for (from, to, why) in [
            ("\"version\": 1", "\"version\": 2", "version 2 is not known here"),
            ("\"version\": 1", "\"version\": 1, \"version\": 1", "not the JSON of a pin file"),
            ("\"readOnlyHint\": null", "\"readOnlyHint\": null, \"x\": 1", "not the JSON of a pin file"),
            ("\"readOnlyHint\": null", "\"readOnlyHint\": 1", "not the JSON of a pin file"),
            ("\"name\": \"a\"", "\"name\": \"b\"", "must be sorted"),
            ("\"name\": \"a\"", "\"name\": \"c\"", "must be sorted"),
        ] {
            let fault = Pins::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(fault.contains(why), "{from} -> {to}: {fault}");
        }
    }
}
