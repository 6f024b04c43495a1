//! The rules of one channel, and what they say about a request.

use std::sync::Arc;

use ureq::http::HeaderMap;

use crate::config::{self, NAMED};
use crate::relay::failure::Class;
use crate::relay::mcp_headers;
use crate::relay::message::Message;
use crate::relay::revision;
use crate::relay::subject::{Kind, Subject};

use super::patterns::{Listed, Patterns};

/// Longest name that is compared; as long as servers let a head be. Comparing costs time for each rule.
const NAME_BYTES_MAX: usize = 8 * 1024;

/// What a URI that was matched through `*` may not hold, in lower case: what a server could take for a separator, or
/// for a step out of the folder that the pattern names.
const DISGUISES: [&str; 4] = ["%2e", "%2f", "%5c", "\\"];

/// Requests without which no session begins or ends.
const ALWAYS: [&str; 3] = ["initialize", "ping", "server/discover"];

/// The rules of one channel, compiled.
pub(super) struct Rules {
    tools: Names,
    prompts: Names,
    resources: Names,
    methods: Names,
}

/// What the rules say about a request.
#[derive(Debug)]
pub(super) struct Ruling {
    /// The rule that decided.
    pub(super) rule: Option<Arc<str>>,
    /// Why it is refused, if it is.
    pub(super) refused: Option<Class>,
}

/// The rules of one kind of names.
struct Names {
    /// Where they stand in the file.
    place: String,
    /// When it is there, nothing else is allowed; the rule that says so.
    allow: Option<(Patterns, Arc<str>)>,
    deny: Patterns,
}

/// What the rules of one kind say about a name: the rule that decided, if one did.
type Said = Result<Option<Arc<str>>, Arc<str>>;

impl Rules {
    /// Compiles the rules of a channel.
    pub(super) fn new(channel: &str, given: &config::ChannelPolicy) -> Rules {
        let compile = |names: &config::Names, named: &str| {
            let place = format!("{channel}.{named}");
            let allow = names.allow.as_ref().map(|allow| {
                let rule = format!("{place}.allow");
                (Patterns::new(allow, &rule), rule.into())
            });
            Names { allow, deny: Patterns::new(&names.deny, &format!("{place}.deny")), place }
        };
        let [tools, prompts, resources, methods] = &given.names;
        let [of_tools, of_prompts, of_resources, of_methods] = NAMED;
        Rules {
            tools: compile(tools, of_tools),
            prompts: compile(prompts, of_prompts),
            resources: compile(resources, of_resources),
            methods: compile(methods, of_methods),
        }
    }

    /// Judges a request. A header that contradicts it is told first: what it is about is not clear then.
    pub(super) fn judge(&self, message: &Message, headers: &HeaderMap, subject: &Subject<'_>) -> Ruling {
        if let Some(header) = mcp_headers::differing(headers, message, subject.name.as_deref()) {
            let rule = format!("{header} differs from the body");
            return Ruling { rule: Some(rule.into()), refused: Some(Class::HeaderMismatch) };
        }
        let method = message.method().unwrap_or_default();
        let said = self.method(method).and_then(|by_method| match subject.kind {
            Kind::Method if subject.name.is_some() => Ok(by_method),
            _ => self.named(subject),
        });
        match said {
            Ok(rule) => Ruling { rule, refused: None },
            Err(rule) => Ruling { rule: Some(rule), refused: Some(Class::PolicyDenied) },
        }
    }

    /// Whether a request with this method may go on. One that no revision has must be named as it is: what it does, and
    /// where it names what it is about, is not known here.
    fn method(&self, method: &str) -> Said {
        if ALWAYS.contains(&method) {
            return Ok(None);
        }
        self.methods.clean(method)?;
        let is_named = || self.methods.allow.as_ref().is_some_and(|(allow, _)| allow.has(method));
        if !revision::is_request(method) && !is_named() {
            return Err(self.methods.because("no revision has this method"));
        }
        self.methods.say(method)
    }

    /// Whether a request may go on that is about a tool, a prompt or a resource.
    fn named(&self, subject: &Subject<'_>) -> Said {
        let names = match subject.kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Method => &self.methods,
        };
        let name = subject.name.as_deref().ok_or_else(|| names.because("the request has no such name"))?;
        names.clean(name)?;
        let start = name.split_once('{').map(|(start, _)| start).filter(|_| subject.is_template);
        match (start, subject.kind) {
            (Some(start), _) => names.say_template(start),
            (None, Kind::Resource) => names.say_uri(name),
            _ => names.say(name),
        }
    }
}

impl Names {
    /// A reason that is no entry of a list.
    fn because(&self, what: &str) -> Arc<str> {
        format!("{}: {what}", self.place).into()
    }

    /// Refuses what no name is, and what programs are known to cut off: a name must be the same to all.
    fn clean(&self, name: &str) -> Result<(), Arc<str>> {
        if name.len() > NAME_BYTES_MAX {
            return Err(self.because("the name is too long"));
        }
        if name.trim() != name || name.chars().any(char::is_control) {
            return Err(self.because("the name has blanks at an end, or control characters"));
        }
        Ok(())
    }

    /// What the lists say about a name.
    fn say(&self, name: &str) -> Said {
        self.listed(name).map(|listed| listed.map(|listed| Arc::clone(listed.rule)))
    }

    fn listed(&self, name: &str) -> Result<Option<Listed<'_>>, Arc<str>> {
        if let Some(denied) = self.deny.find(name) {
            return Err(Arc::clone(denied.rule));
        }
        match &self.allow {
            None => Ok(None),
            Some((allow, rule)) => allow.find(name).map(Some).ok_or_else(|| Arc::clone(rule)),
        }
    }

    /// What they say about a URI. A server may read another one out of it than the pattern was written for.
    fn say_uri(&self, uri: &str) -> Said {
        let listed = self.listed(uri)?;
        if listed.as_ref().is_some_and(|listed| !listed.is_exact) && is_disguised(uri) {
            return Err(self.because("the URI leads elsewhere than it seems"));
        }
        Ok(listed.map(|listed| Arc::clone(listed.rule)))
    }

    /// What they say about a template, by its text before the first variable: it may go on where all that begins so is
    /// allowed, and where not all of it is denied.
    fn say_template(&self, start: &str) -> Said {
        if let Some(denied) = self.deny.all_from(start) {
            return Err(Arc::clone(denied));
        }
        let Some((allow, rule)) = &self.allow else { return Ok(None) };
        let allowed = allow.all_from(start).ok_or_else(|| Arc::clone(rule))?;
        if is_disguised(start) {
            return Err(self.because("the URI leads elsewhere than it seems"));
        }
        Ok(Some(Arc::clone(allowed)))
    }
}

/// Whether a URI holds a separator in disguise, or a segment that leads up or nowhere.
fn is_disguised(uri: &str) -> bool {
    let holds = |what: &&str| {
        let mut windows = uri.as_bytes().windows(what.len());
        windows.any(|window| window.eq_ignore_ascii_case(what.as_bytes()))
    };
    DISGUISES.iter().any(holds) || uri.split(['/', '?', '#', ';']).any(|part| matches!(part, "." | ".."))
}
