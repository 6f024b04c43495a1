//! The section `policy` of a profile: what callers may ask for.
//!
//! It stands in the file alone: a variable or a flag that changed it would be a second place to review. What a rule
//! means is decided by the room `policy`; what is refused here are rules that could never match, and rules about what
//! cannot be refused, because their writer believes in something that does not happen.

use std::path::PathBuf;

use crate::text::words;

use super::lookup::Lookup;
use super::members::Members;
use super::yaml::{Fault, Node, shown};
use super::{Channel, Error, Mcp};

/// Most limits of one channel. Each call is compared with all of them.
pub const LIMITS_MAX: usize = 64;

/// Largest number in a limit; beyond it nothing is limited.
const LIMIT_MAX: u32 = 1_000_000;

/// What callers may ask for.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether what is against it is refused, or only told.
    pub enforces: bool,
    /// Rules by channel; those without one are for every channel that has no rules of its own.
    pub channels: Vec<(Option<Channel>, ChannelPolicy)>,
    /// Tools that the operator has accepted.
    pub pins: Option<Pins>,
}

/// Tools that the operator has accepted, and what follows from that.
#[derive(Debug, Clone)]
pub struct Pins {
    /// The pin file.
    pub file: PathBuf,
    /// What is done about other tools.
    pub mode: PinMode,
}

words! {
    /// What is done about tools that are not as they were accepted.
    PinMode {
        /// Nothing; what was accepted only says which tools read.
        Off = "off",
        /// The operator is told.
        Warn = "warn",
        /// They are hidden and refused too.
        Block = "block",
    }
}

/// The rules of one channel.
#[derive(Debug, Clone, Default)]
pub struct ChannelPolicy {
    /// Rules of tools, prompts, resources and methods, in this order.
    pub names: [Names; 4],
    /// Whether tools alone may be called that were accepted as such that only read.
    pub read_only: bool,
    /// Limits; a call has to find room in all that it matches.
    pub limits: Vec<Limit>,
}

impl ChannelPolicy {
    /// The tools that its rules name.
    fn tools(&self) -> impl Iterator<Item = &String> {
        let [tools, ..] = &self.names;
        let limited = self.limits.iter().flat_map(|limit| &limit.tools);
        tools.allow.iter().chain(limited).flatten().chain(&tools.deny)
    }
}

/// Limit of calls. What is not named is not bounded; one of both is.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Where it stands in the file.
    pub place: String,
    /// The tools whose calls count; without them every request does that can be refused.
    pub tools: Option<Vec<String>>,
    /// Calls a minute, in the long run.
    pub per_minute: Option<u32>,
    /// Calls that may come at once.
    pub burst: Option<u32>,
    /// Calls that may run at once.
    pub concurrent: Option<u32>,
}

/// The keys of these rules.
const NAMED: [&str; 4] = ["tools", "prompts", "resources", "methods"];

/// Rules of one kind of names. `*` stands for any run of characters.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Where they stand in the file.
    pub place: String,
    /// When it is there, nothing else is allowed.
    pub allow: Option<Vec<String>>,
    /// Wins over what is allowed.
    pub deny: Vec<String>,
}

/// The tool of the channel `harpoon` that calls an endpoint, and its argument with the endpoint's label. The label is
/// what is judged.
pub const CALLS_ENDPOINT: (&str, &str) = ("call_target", "label");

/// Requests that no rule refuses: without them no session begins or ends.
pub const ALWAYS: [&str; 3] = ["initialize", "ping", "server/discover"];

/// Reads the section. A channel that nobody serves is a mistake: its rules would protect nothing.
pub(super) fn load(lookup: &Lookup, mcp: &Mcp) -> Result<Option<Policy>, Error> {
    let is_served = |channel: &Channel| {
        *channel == Channel::harpoon() || mcp.bindings.iter().any(|binding| binding.channel == *channel)
    };
    lookup.tree("policy", |node| policy(node, is_served))
}

/// The section as it is written.
pub(super) fn policy(node: Node, is_served: impl Fn(&Channel) -> bool) -> Result<Policy, Fault> {
    let mut members = Members::of("policy", node)?;
    let enforces = members.word("mode", &[("enforce", true), ("observe", false)])?;
    let pins = members.take("pins", pins)?;
    let channels = members.take("channels", |path, node| {
        let mut channels = Vec::new();
        for (name, node) in Members::of(path, node)?.rest() {
            let of_all = name == "*";
            let path = format!("{path}.{}", if of_all { "*".to_owned() } else { shown(&name) });
            let channel = Channel::parse(&name).filter(|channel| channel.as_str() == name);
            let wrong = match &channel {
                None if !of_all => "is no name of a channel",
                Some(channel) if !is_served(channel) => "names a channel that no server of this profile has",
                _ => "",
            };
            if !wrong.is_empty() {
                return Err(Fault::at(node.line, format!("{path} {wrong}")));
            }
            let line = node.line;
            let rules = rules(&path, node)?;
            if channel == Some(Channel::harpoon()) && rules.tools().any(|tool| tool == CALLS_ENDPOINT.0) {
                let why = "names call_target, which is judged by the label that it calls: name labels";
                return Err(Fault::at(line, format!("{path} {why}")));
            }
            if rules.read_only && pins.is_none() {
                let what = "read_only needs policy.pins: it goes by what was accepted there";
                return Err(Fault::at(line, format!("{path}.{what}")));
            }
            channels.push((channel, rules));
        }
        Ok(channels)
    })?;
    let channels = channels.filter(|channels| !channels.is_empty()).or(pins.is_some().then(Vec::new));
    let channels = channels.ok_or_else(|| members.fault("must have channels: name one, or \"*\" for all"))?;
    members.end()?;
    Ok(Policy { enforces: enforces.unwrap_or(true), channels, pins })
}

/// What was accepted of tools.
fn pins(path: &str, node: Node) -> Result<Pins, Fault> {
    let mut members = Members::of(path, node)?;
    let modes = [PinMode::Off, PinMode::Warn, PinMode::Block].map(|mode| (mode.word(), mode));
    let (file, mode) = (members.text("file")?, members.word("mode", &modes)?);
    let file = file.ok_or_else(|| members.fault("must have file"))?;
    let mode = mode.ok_or_else(|| members.fault("must have mode: off, warn or block"))?;
    members.end().map(|()| Pins { file: file.into(), mode })
}

/// The rules of one channel.
fn rules(path: &str, node: Node) -> Result<ChannelPolicy, Fault> {
    let mut members = Members::of(path, node)?;
    let mut rules = ChannelPolicy::default();
    for (key, names) in NAMED.into_iter().zip(&mut rules.names) {
        names.place = format!("{path}.{key}");
        members.take(key, |path, node| {
            let mut members = Members::of(path, node)?;
            names.allow = patterns(&mut members, path, "allow")?;
            names.deny = patterns(&mut members, path, "deny")?.unwrap_or_default();
            members.end()
        })?;
    }
    rules.read_only = members.word("read_only", &[("true", true), ("false", false)])?.unwrap_or_default();
    let limits = members.take("limits", |path, node| {
        let line = node.line;
        let limits = node.list(path)?;
        if limits.len() > LIMITS_MAX {
            return Err(Fault::at(line, format!("{path} has more than {LIMITS_MAX} entries")));
        }
        limits.into_iter().zip(1..).map(|(node, at)| limit(format!("{path}, entry {at}"), node)).collect()
    })?;
    rules.limits = limits.unwrap_or_default();
    members.end().map(|()| rules)
}

/// One limit. One that limits nothing is a mistake.
fn limit(place: String, node: Node) -> Result<Limit, Fault> {
    let mut members = Members::of(&place, node)?;
    let limit = Limit {
        tools: patterns(&mut members, &place, "tools")?,
        per_minute: members.number("per_minute", 1..=LIMIT_MAX)?,
        burst: members.number("burst", 1..=LIMIT_MAX)?,
        concurrent: members.number("concurrent", 1..=LIMIT_MAX)?,
        place,
    };
    let wrong = match &limit {
        Limit { per_minute: None, burst: Some(_), .. } => "has burst without per_minute",
        Limit { per_minute: None, concurrent: None, .. } => "must have per_minute or concurrent",
        Limit { tools: Some(tools), .. } if tools.is_empty() => "has no tools: name some, or leave tools out",
        _ => return members.end().map(|()| limit),
    };
    Err(members.fault(wrong))
}

/// A list of names. One that no caller could send, or that is of no effect, is a mistake.
fn patterns(members: &mut Members, path: &str, key: &str) -> Result<Option<Vec<String>>, Fault> {
    let refuses_method = key == "deny" && path.ends_with(".methods");
    let always = |text: &str| ALWAYS.contains(&text) || text.starts_with("notifications/");
    members.texts(key, |text| match text {
        "" => Err("is empty"),
        _ if text.trim() != text || text.chars().any(char::is_control) => {
            Err("begins or ends with a blank, or holds a control character, and would match nothing")
        }
        _ if refuses_method && always(text) => Err(
            "names what cannot be refused: initialize, ping, server/discover and notifications always pass",
        ),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn read(text: &str) -> Result<Policy, (usize, String)> {
        let is_served = |channel: &Channel| ["main", "harpoon"].contains(&channel.as_str());
        let read = policy(yaml::parse(text).unwrap().0, is_served);
        read.map_err(|fault| (fault.line.unwrap(), fault.text))
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let read = read(
            "mode: observe\nchannels:\n  main:\n    tools: { allow: [search, 'get_*'], deny: [7] }\n    prompts: { allow: [] }\n  '*': { methods: { deny: [logging/setLevel] } }\n",
        )
        .unwrap();
        assert!(!read.enforces);
        let [(Some(main), of_main), (None, of_others)] = read.channels.as_slice() else { panic!("{read:?}") };
        let [tools, prompts, resources, methods] = &of_main.names;
        assert_eq!(
            (main.as_str(), tools.allow.as_deref().unwrap()),
            ("main", &["search", "get_*"].map(String::from)[..])
        );
        assert_eq!((tools.deny.as_slice(), prompts.allow.as_deref()), (&["7".to_owned()][..], Some(&[][..])));
        assert!(resources.allow.is_none() && resources.deny.is_empty() && methods.allow.is_none());
        assert_eq!(of_others.names[3].deny, ["logging/setLevel"]);
    }

    #[test]
    fn limits_are_read_as_they_are_written() {
        let limits = |text: &str| {
            let read = read(&format!("channels: {{ main: {{ limits: {text} }} }}"));
            read.map(|mut policy| policy.channels.remove(0).1.limits).map_err(|(_, text)| text)
        };
        let read =
            limits("[{ tools: [a, 'b*'], per_minute: 60, burst: 10, concurrent: 2 }, { per_minute: 1 }]");
        let [one, other] = &read.unwrap()[..] else { panic!() };
        assert_eq!(one.tools.as_deref().unwrap(), ["a", "b*"].map(String::from));
        assert_eq!((one.per_minute, one.burst, one.concurrent), (Some(60), Some(10), Some(2)));
        assert!(other.tools.is_none() && other.burst.is_none() && other.concurrent.is_none());
        assert_eq!(other.place, "policy.channels.main.limits, entry 2");
        assert!(limits("[]").unwrap().is_empty());
        let unmatched =
            ".tools begins or ends with a blank, or holds a control character, and would match nothing";
        for (text, expected) in [
            ("[{}]", " must have per_minute or concurrent"),
            ("[{ tools: [a] }]", " must have per_minute or concurrent"),
            ("[{ burst: 1, concurrent: 1 }]", " has burst without per_minute"),
            ("[{ tools: [], concurrent: 1 }]", " has no tools: name some, or leave tools out"),
            ("[{ tools: [' a'], concurrent: 1 }]", unmatched),
            ("[{ prompts: [b], concurrent: 1 }]", "unknown key \"prompts\" in "),
            ("[{ per_minute: 0 }]", ".per_minute must be a whole number from 1 to 1000000"),
            ("[{ per_minute: 1.5 }]", ".per_minute must be an integer"),
            (
                "[{ concurrent: 99999999999999999999 }]",
                ".concurrent must be a whole number from 1 to 1000000",
            ),
        ] {
            let told = limits(text).unwrap_err();
            let place = "policy.channels.main.limits, entry 1";
            assert!(told.contains(place) && told.contains(expected), "{text}: {told}");
        }
        let many = format!("[{}]", "{ concurrent: 1 }, ".repeat(65));
        assert_eq!(limits(&many).unwrap_err(), "policy.channels.main.limits has more than 64 entries");
    }

    #[test]
    fn pins_need_no_rules_and_rules_may_need_pins() {
        let policy =
            read("pins: { file: /p.json, mode: block }\nchannels: { main: { read_only: true } }").unwrap();
        let pins = policy.pins.unwrap();
        assert_eq!((pins.file, pins.mode), (PathBuf::from("/p.json"), PinMode::Block));
        assert!(policy.channels[0].1.read_only && policy.channels.len() == 1);
        assert!(read("pins: { file: /p.json, mode: off }").unwrap().channels.is_empty());
        for (text, told) in [
            ("pins: { mode: warn }", "policy.pins must have file"),
            ("pins: { file: '', mode: warn }", "policy.pins must have file"),
            ("pins: { file: x }", "policy.pins must have mode: off, warn or block"),
            ("pins: { file: x, mode: on }", "policy.pins.mode must be one of: off, warn, block"),
            ("pins: { file: x, mode: off, z: 1 }", "unknown key \"z\" in policy.pins"),
        ] {
            assert_eq!(read(text).unwrap_err().1, told, "{text}");
        }
    }

    #[test]
    fn what_would_protect_nothing_is_refused() {
        let main = |rules: &str| format!("channels:\n  main:\n    {rules}\n");
        for (text, line, expected) in [
            ("{}".to_owned(), 1, "policy must have channels: name one, or \"*\" for all"),
            ("mode: on".to_owned(), 1, "policy.mode must be one of: enforce, observe"),
            (
                "channels:\n  harpoon: { limits: [{ tools: [call_target], concurrent: 1 }] }".to_owned(),
                2,
                "policy.channels.harpoon names call_target, which is judged by the label that it calls: name labels",
            ),
            ("modus: enforce\nchannels: {'*': {}}".to_owned(), 1, "unknown key \"modus\" in policy"),
            ("pins: {}".to_owned(), 1, "policy.pins must have file"),
            (
                "channels:\n  mian: {}".to_owned(),
                2,
                "policy.channels.mian names a channel that no server of this profile has",
            ),
            ("channels:\n  Main: {}".to_owned(), 2, "policy.channels.Main is no name of a channel"),
            (
                "channels:\n  main:\n".to_owned(),
                2,
                "policy.channels.main must be a map: write each member as \"NAME: value\" on a line of its own",
            ),
            (main("tool: {}"), 3, "unknown key \"tool\" in policy.channels.main"),
            (
                main("tools: [a]"),
                3,
                "policy.channels.main.tools must be a map: write each member as \"NAME: value\" on a line of its own",
            ),
            (
                main("tools: { allow: a }"),
                3,
                "policy.channels.main.tools.allow must be a list: write each item as \"- VALUE\" on a line of its own",
            ),
            (
                main("tools: { allow: }"),
                3,
                "policy.channels.main.tools.allow has no value: give it one, or remove it",
            ),
            (main("tools: { alow: [a] }"), 3, "unknown key \"alow\" in policy.channels.main.tools"),
            (main("tools: { deny: [''] }"), 3, "an item of policy.channels.main.tools.deny is empty"),
            (
                main("tools: { deny: [' a'] }"),
                3,
                "an item of policy.channels.main.tools.deny begins or ends with a blank, or holds a control character, and would match nothing",
            ),
            (
                main("methods: { deny: [ping] }"),
                3,
                "an item of policy.channels.main.methods.deny names what cannot be refused: initialize, ping, server/discover and notifications always pass",
            ),
            (
                main("read_only: true"),
                2,
                "policy.channels.main.read_only needs policy.pins: it goes by what was accepted there",
            ),
        ] {
            assert_eq!(read(&text).unwrap_err(), (line, expected.to_owned()), "{text}");
        }
    }
}
