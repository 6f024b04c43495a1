//! The rules of one channel, and what they say about a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;

use crate::config;
use crate::relay::command::SUBSCRIPTION_BYTES_MAX;
use crate::relay::failure::Class;
use crate::relay::json;
use crate::relay::mcp_headers;
use crate::relay::message::Message;
use crate::relay::revision;
use crate::relay::subject::{Kind, Subject};
use crate::sync;

use super::limits::{Limits, Running};
use super::lists::List;
use super::patterns::{Pattern, Patterns};

/// Longest name that is compared; as long as servers let a head be. Comparing costs time for each rule.
const NAME_BYTES_MAX: usize = 8 * 1024;

/// What a URI that was matched through `*` may not hold, in any case: what a server could take for a separator, or for
/// a step out of the folder that the pattern names.
const DISGUISES: [&str; 4] = ["%2e", "%2f", "%5c", "\\"];

/// The rules of one channel, compiled.
pub(super) struct Rules {
    /// In the order of [`Kind`].
    names: [Names; 4],
    /// Whether tools alone may be called that were accepted as such that only read.
    pub(super) read_only: bool,
    counted: Vec<Counted>,
    limits: Arc<Limits>,
}

/// The calls that one limit counts.
struct Counted {
    /// Those of these tools; else all requests that can be refused.
    tools: Option<Patterns>,
    rule: Arc<str>,
}

/// The rules of one kind of names.
struct Names {
    /// Where they stand in the file.
    place: String,
    /// When it is there, nothing else is allowed.
    allow: Option<Patterns>,
    deny: Patterns,
}

/// What the rules say: which one allowed, if one had to, or which one refused, and how that is answered.
pub(super) type Ruling = Result<Option<Arc<str>>, (Class, Arc<str>)>;

impl Rules {
    /// Compiles the rules of a channel.
    pub(super) fn new(given: &config::ChannelPolicy) -> Rules {
        let names = given.names.each_ref().map(|names| {
            let place = &names.place;
            let list = |list: &Vec<String>, key| Patterns::new(list, &format!("{place}.{key}"));
            let allow = names.allow.as_ref().map(|allow| list(allow, "allow"));
            Names { place: place.clone(), allow, deny: list(&names.deny, "deny") }
        });
        let counted = given.limits.iter().map(|limit| Counted {
            tools: limit.tools.as_ref().map(|tools| Patterns::new(tools, &limit.place)),
            rule: limit.place.as_str().into(),
        });
        let (counted, limits) = (counted.collect(), Limits::new(&given.limits, sync::now()));
        Rules { names, read_only: given.read_only, counted, limits }
    }

    /// Judges a request. A header that contradicts it is told first: what it is about is not clear then.
    pub(super) fn judge(&self, message: &Message, headers: &HeaderMap, subject: &Subject<'_>) -> Ruling {
        if let Some(header) =
            mcp_headers::differing(headers, message, subject.through.or(subject.name.as_deref()))
        {
            return Err((Class::HeaderMismatch, format!("{header} differs from the body").into()));
        }
        let said = self.say(message.method().unwrap_or_default(), subject);
        let said = said.and_then(|rule| self.subscribes(message).map(|()| rule));
        said.map_err(|rule| (Class::PolicyDenied, rule))
    }

    /// Whether each resource may be read whose changes a subscription wants to hear of. One that is too large to be taken
    /// is refused for that.
    fn subscribes(&self, message: &Message) -> Result<(), Arc<str>> {
        if !message.is_subscription() || message.text().len() > SUBSCRIPTION_BYTES_MAX {
            return Ok(());
        }
        let [_, _, resources, _] = &self.names;
        let uris = message.subscribed();
        let uris =
            uris.map_err(|_| resources.because("the subscription names its resources in no clear way"))?;
        uris.into_iter().try_for_each(|uri| {
            let (kind, name) = (Kind::Resource, json::exact(uri));
            resources.named(&Subject { kind, name, is_template: false, through: None }).map(drop)
        })
    }

    fn say(&self, method: &str, subject: &Subject<'_>) -> Said {
        let [tools, prompts, resources, methods] = &self.names;
        methods.method(method).and_then(|by_method| match subject.kind {
            Kind::Tool => tools.named(subject),
            Kind::Prompt => prompts.named(subject),
            Kind::Resource => resources.named(subject),
            Kind::Method if subject.name.is_none() => methods.named(subject),
            Kind::Method => Ok(by_method),
        })
    }

    /// Charges the limits that count a request, which may go on by all else. What it returns is kept while the call
    /// runs; without room it fails with the limit, and how long to wait.
    pub(super) fn charge(
        &self,
        message: &Message,
        subject: &Subject<'_>,
        now: Instant,
    ) -> Result<Option<Running>, (Arc<str>, Duration)> {
        if self.counted.is_empty() || config::ALWAYS.contains(&message.method().unwrap_or_default()) {
            return Ok(None);
        }
        let tool = subject.name.as_deref().filter(|_| subject.kind == Kind::Tool);
        let matches = |tools: &Patterns| tool.is_some_and(|tool| tools.find(tool).is_some());
        let counts = |one: &Counted| one.tools.as_ref().is_none_or(matches);
        let bits = self.counted.iter().enumerate().filter(|(_, one)| counts(one)).map(|(at, _)| 1 << at);
        let charged = self.limits.charge(bits.fold(0, |mask, bit| mask | bit), now);
        // It would keep its place among calls for a day; how many of them there are is bounded elsewhere.
        let charged = charged.map(|running| running.filter(|_| !message.is_subscription()));
        charged.map_err(|full| {
            let rule = self.counted.get(full.limit).map(|one| Arc::clone(&one.rule));
            (rule.unwrap_or_default(), full.retry_after)
        })
    }

    /// Tells of the names of a list whether what they name could be asked for.
    pub(super) fn offers(&self, list: List) -> impl Fn(Cow<'_, str>) -> bool {
        let (method, kind) = match list {
            List::Tools => ("tools/call", Kind::Tool),
            List::Prompts => ("prompts/get", Kind::Prompt),
            List::Resources | List::Templates => ("resources/read", Kind::Resource),
        };
        let is_template = list == List::Templates;
        move |name| self.say(method, &Subject { kind, name: Some(name), is_template, through: None }).is_ok()
    }
}

/// The rule that decided, if one did.
type Said = Result<Option<Arc<str>>, Arc<str>>;

impl Names {
    /// Whether a request with this method may go on. One that no revision has must be named as it is: what it does, and
    /// where it names what it is about, is not known here.
    fn method(&self, method: &str) -> Said {
        if config::ALWAYS.contains(&method) {
            return Ok(None);
        }
        self.check(method)?;
        let found = |list: &Patterns| list.find(method).is_some_and(Pattern::is_exact);
        if !revision::is_request(method) && !self.allow.as_ref().is_some_and(found) {
            return Err(self.because("no revision has this method"));
        }
        self.say(|list| list.find(method)).map(|pattern| pattern.map(|pattern| Arc::clone(&pattern.rule)))
    }

    /// Whether a request may go on that names a tool, a prompt or a resource. Of a template the text before its first
    /// variable counts: all that begins so must be allowed, and not all of it denied.
    fn named(&self, subject: &Subject<'_>) -> Said {
        let name = subject.name.as_deref().ok_or_else(|| self.because("the request has no such name"))?;
        self.check(name)?;
        let start = name.split_once('{').map(|(start, _)| start).filter(|_| subject.is_template);
        let pattern = match start {
            Some(start) => self.say(|list| list.find_all(start)),
            None => self.say(|list| list.find(name)),
        }?;
        // A server may read another URI out of it than the pattern was written for.
        let is_loose = subject.kind == Kind::Resource && pattern.is_some_and(|pattern| !pattern.is_exact());
        let uri = start.unwrap_or(name);
        if is_loose && (is_disguised(uri) || (!self.deny.is_empty() && is_respelled(uri))) {
            return Err(self.because("the URI leads elsewhere than it seems"));
        }
        Ok(pattern.map(|pattern| Arc::clone(&pattern.rule)))
    }

    /// What the lists say about what is looked for in each.
    fn say<'a>(
        &'a self,
        find: impl Fn(&'a Patterns) -> Option<&'a Pattern>,
    ) -> Result<Option<&'a Pattern>, Arc<str>> {
        match (find(&self.deny), &self.allow) {
            (Some(denied), _) => Err(Arc::clone(&denied.rule)),
            (None, None) => Ok(None),
            (None, Some(allow)) => find(allow).map(Some).ok_or_else(|| self.because("not in allow")),
        }
    }

    /// Refuses what is no name, and what programs are known to cut off: a name must be the same to all.
    fn check(&self, name: &str) -> Result<(), Arc<str>> {
        if name.len() > NAME_BYTES_MAX {
            return Err(self.because("the name is too long"));
        }
        if name.trim() != name || name.chars().any(char::is_control) {
            return Err(self.because("the name has blanks at an end, or control characters"));
        }
        Ok(())
    }

    /// A reason that is no entry of a list.
    fn because(&self, what: &str) -> Arc<str> {
        format!("{}: {what}", self.place).into()
    }
}

/// Whether a URI has another spelling that many servers take for the same one, and that a `deny` may name: an empty
/// segment, or an escape of a character that needs none.
fn is_respelled(uri: &str) -> bool {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let escapes = uri.split('%').skip(1).filter_map(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    path.contains("//") || escapes.into_iter().any(is_plain)
}

/// Whether a URI holds a separator in disguise, or a segment that leads up or nowhere.
fn is_disguised(uri: &str) -> bool {
    let holds = |what: &&str| {
        let mut windows = uri.as_bytes().windows(what.len());
        windows.any(|window| window.eq_ignore_ascii_case(what.as_bytes()))
    };
    DISGUISES.iter().any(holds) || uri.split(['/', '?', '#', ';']).any(|part| matches!(part, "." | ".."))
}
