//! The section `policy` of a profile: what callers may ask for.
//!
//! It stands in the file alone: a variable or a flag that changed it would be a second place to review. What a rule
//! means is decided by the room `policy`; what is refused here are rules that could never match, and rules about what
//! cannot be refused, because their writer believes in something that does not happen.

use super::lookup::Lookup;
use super::members::Members;
use super::yaml::{Fault, Node, shown};
use super::{Channel, Error, Mcp};

/// What callers may ask for.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whether what is against it is refused, or only told.
    pub enforces: bool,
    /// Rules by channel; those without one are for every channel that has no rules of its own.
    pub channels: Vec<(Option<Channel>, ChannelPolicy)>,
}

/// The rules of one channel.
#[derive(Debug, Clone, Default)]
pub struct ChannelPolicy {
    /// Rules of tools, prompts, resources and methods, in this order.
    pub names: [Names; 4],
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
    members.absent("pins")?;
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
            channels.push((channel, rules(&path, node)?));
        }
        Ok(channels)
    })?;
    let channels = channels.filter(|channels| !channels.is_empty());
    let channels = channels.ok_or_else(|| members.fault("must have channels: name one, or \"*\" for all"))?;
    members.end()?;
    Ok(Policy { enforces: enforces.unwrap_or(true), channels })
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
    members.absent("read_only")?;
    members.absent("limits")?;
    members.end().map(|()| rules)
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
        let read = policy(yaml::parse(text).unwrap().0, |channel| channel.as_str() == "main");
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
    fn what_would_protect_nothing_is_refused() {
        let main = |rules: &str| format!("channels:\n  main:\n    {rules}\n");
        for (text, line, expected) in [
            ("{}".to_owned(), 1, "policy must have channels: name one, or \"*\" for all"),
            ("mode: on".to_owned(), 1, "policy.mode must be one of: enforce, observe"),
            ("modus: enforce\nchannels: {'*': {}}".to_owned(), 1, "unknown key \"modus\" in policy"),
            ("pins: {}".to_owned(), 1, "policy.pins is not available in this version; remove it"),
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
                3,
                "policy.channels.main.read_only is not available in this version; remove it",
            ),
        ] {
            assert_eq!(read(&text).unwrap_err(), (line, expected.to_owned()), "{text}");
        }
    }
}
