//! The operator's policy: which commands go on to a server, and which are refused here.
//!
//! Every command for a channel with rules is judged once, before it is queued, from the one reading of its message.
//! What is judged is what the server gets: names that two programs could read differently were refused before. Nothing
//! is allocated on the way of a command that is allowed, unless its name is written with escapes, and no rule is ever
//! compiled there. A refusal says nothing about the rule; the log does.

#[cfg(any(test, fuzzing))]
#[path = "../../tests/fuzz/targets/policy.rs"]
pub(crate) mod fuzz;
mod limits;
mod lists;
mod patterns;
#[cfg(any(test, fuzzing))]
mod plain_tests;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{self, Channel};
use crate::ops::line_limit::LineLimit;
use crate::ops::metrics::Metrics;
use crate::pins::{Refusal, Watch};
use crate::relay::command::Command;
use crate::relay::failure::{Class, Failure};
use crate::relay::judgement::{Decision, Judgement};
use crate::relay::message::{Kind, Message};
use crate::relay::payload::Payload;
use crate::relay::port::Governor;
use crate::relay::subject::{self, Subject, calls_another};
use crate::sync;

use lists::{List, Unreadable};
use rules::Rules;

/// The rules of all channels, compiled.
#[derive(Default)]
struct Book {
    enforces: bool,
    /// The rules as they were given.
    #[cfg(feature = "page")]
    given: Option<config::Policy>,
    channels: HashMap<Channel, Rules>,
}

/// The operator's policy, as it is now.
pub(crate) struct Policy {
    now: RwLock<Arc<Book>>,
    /// The channels that are served.
    served: Vec<Channel>,
    /// What was accepted of tools, where the operator has said so.
    pins: Option<Arc<Watch>>,
    metrics: Arc<Metrics>,
    lines: LineLimit,
}

impl Policy {
    /// Compiles the operator's rules. Those of no channel are for each of these that has none of its own; each counts
    /// its calls alone.
    pub(crate) fn new(
        settings: &config::Policy,
        served: Vec<Channel>,
        pins: Option<Arc<Watch>>,
        metrics: Arc<Metrics>,
    ) -> Policy {
        let (now, lines) = (RwLock::default(), LineLimit::default());
        let policy = Policy { now, served, pins, metrics, lines };
        policy.renew(settings);
        policy
    }

    /// Goes over to other rules. What they limit counts from the start; calls that run hold their places in the former
    /// ones.
    pub(crate) fn renew(&self, settings: &config::Policy) {
        let of =
            |channel: Option<&Channel>| settings.channels.iter().find(|(known, _)| known.as_ref() == channel);
        // Where tools are refused that were not accepted, requests have to be as clear as where rules refuse some.
        let mut clear = config::ChannelPolicy::default();
        clear.names.iter_mut().for_each(|names| names.place = "policy.pins".to_owned());
        let blocks = |channel: &Channel| self.pins.as_ref().is_some_and(|pins| pins.blocks(channel));
        let channels = self.served.iter().filter_map(|channel| {
            let given = of(Some(channel)).or_else(|| of(None)).map(|(_, given)| given);
            let given = given.or_else(|| blocks(channel).then_some(&clear))?;
            Some((channel.clone(), Rules::new(given)))
        });
        let book = Book {
            enforces: settings.enforces,
            #[cfg(feature = "page")]
            given: Some(settings.clone()),
            channels: channels.collect(),
        };
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(book);
    }

    /// The rules in force, as they were given.
    #[cfg(feature = "page")]
    pub(crate) fn given(&self) -> Option<config::Policy> {
        self.now().given.clone()
    }

    /// The rules in force.
    fn now(&self) -> Arc<Book> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the operator's pins let a tool be called where tools alone may be that only read.
    fn reads(&self, rules: &Rules, channel: &Channel, tool: &str) -> bool {
        !rules.read_only || self.pins.as_ref().is_some_and(|pins| pins.is_read_only(channel, tool))
    }

    /// Whether what was accepted of tools lets a request go on.
    fn accepts(
        &self,
        rules: &Rules,
        channel: &Channel,
        subject: &Subject<'_>,
    ) -> Result<(), (Class, Arc<str>)> {
        let tool = subject.name.as_deref().filter(|_| subject.kind == subject::Kind::Tool);
        let (class, rule) = match self.pins.as_ref().and_then(|pins| pins.refuses(channel, tool)) {
            Some(Refusal::Unread) => (Class::ToolsUnknown, "policy.pins: the list of tools is not known"),
            Some(Refusal::Changed) => (Class::PolicyDenied, "policy.pins: not as it was accepted"),
            None if tool.is_some_and(|tool| !self.reads(rules, channel, tool)) => {
                (Class::PolicyDenied, "read_only: not accepted as a tool that only reads")
            }
            None => return Ok(()),
        };
        Err((class, rule.into()))
    }

    /// Tells the operator what was, or would be, refused.
    fn tell(&self, command: &Command, subject: &Subject<'_>, decision: Decision, rule: &str) {
        let Some(left_out) = self.lines.admit(sync::now()) else { return };
        let event = match decision {
            Decision::Observe => "command would be refused by the operator's policy",
            _ => "command refused by the operator's policy",
        };
        log::warn!(
            request_id = command.request_id.as_str(),
            rpc_request_id = command.id().unwrap_or_default(),
            channel = command.channel.as_str(),
            method = command.message().and_then(|message| message.method()).unwrap_or_default(),
            kind = subject.kind.word(),
            name = subject.name.as_deref().unwrap_or_default(),
            decision = decision.word(),
            rule = rule,
            left_out = left_out;
            "{event}"
        );
    }
}

/// Whether a pattern of the profile matches a name.
#[cfg(feature = "operator")]
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    patterns::Patterns::new(&[pattern.to_owned()], "").find(name).is_some()
}

/// Whether a server could take a message for a request. Many do what a method says whether there is an id or not.
fn is_judged(message: &Message) -> bool {
    match message.kind() {
        Kind::Request => true,
        Kind::Notification => !message.method().is_some_and(|method| method.starts_with("notifications/")),
        Kind::Response => false,
    }
}

impl Governor for Policy {
    fn judge(&self, command: &Command) -> Judgement {
        let message = command.message().filter(|message| is_judged(message));
        let book = self.now();
        let (Some(rules), Some(message)) = (book.channels.get(&command.channel), message) else {
            return Judgement::default();
        };
        let subject = Subject::of(message).on(&command.channel, message);
        let (mut hold, mut retry_after): (Option<Box<dyn Send + Sync>>, _) = (None, None);
        let ruling = rules.judge(message, &command.headers, &subject);
        let mut ruling =
            ruling.and_then(|rule| self.accepts(rules, &command.channel, &subject).map(|()| rule));
        if ruling.is_ok() {
            match rules.charge(message, &subject, command.received) {
                Ok(running) => hold = running.map(|running| -> Box<dyn Send + Sync> { Box::new(running) }),
                Err((limit, wait)) => {
                    retry_after = Some(wait);
                    ruling = Err((Class::RateLimited, limit));
                }
            }
        }
        let decision = match &ruling {
            Ok(_) => Decision::Allow,
            Err(_) if book.enforces => Decision::Deny,
            Err(_) => Decision::Observe,
        };
        self.metrics.policy_decided(&command.channel, subject.kind.word(), decision.word());
        let (rule, refusal) = match ruling {
            Ok(rule) => (rule, None),
            Err((class, rule)) => {
                self.tell(command, &subject, decision, &rule);
                let mut failure = Failure { retry_after, ..Failure::new(class, &*rule) };
                // Nobody would read the error beside a status of success.
                if message.kind() == Kind::Notification && failure.status < 400 {
                    failure.status = 400;
                }
                (Some(rule), book.enforces.then_some(failure))
            }
        };
        Judgement { decision: Some(decision), rule, refusal, hold }
    }

    fn offers(&self, channel: &Channel, tool: &str) -> bool {
        let book = self.now();
        let rules = book.channels.get(channel).filter(|_| book.enforces);
        rules.is_none_or(|rules| rules.offers(List::Tools)(tool.into()) && self.reads(rules, channel, tool))
    }

    fn filter(&self, command: &Command, payload: Payload) -> Result<Payload, Failure> {
        let (channel, method) = (&command.channel, command.message().and_then(|message| message.method()));
        let Some(list) = method.and_then(List::of_method) else { return Ok(payload) };
        let book = self.now();
        let rules = book.channels.get(channel).filter(|_| book.enforces);
        let pins = self.pins.as_ref().filter(|_| list == List::Tools);
        if rules.is_none() && pins.is_none() {
            return Ok(payload);
        }
        let offers = rules.map(|rules| (rules, rules.offers(list)));
        let is_offered = |name: Cow<'_, str>| match &offers {
            None => true,
            Some(_) if calls_another(channel, &name) => true,
            Some((rules, offers)) => {
                (list != List::Tools || self.reads(rules, channel, &name)) && offers(name)
            }
        };
        let cuts = list.cuts(payload.text(), |name, entry| {
            // Compared in any case, since a change is told where nothing is hidden.
            let is_accepted = pins.is_none_or(|pins| pins.shows(channel, name.as_deref(), entry));
            is_accepted && name.is_some_and(&is_offered)
        });
        // Who only tells leaves the list to its caller as it is.
        if rules.is_none() {
            if let (Some(pins), Err(why)) = (pins, &cuts) {
                pins.passes_unread(channel, &why.to_string());
            }
            return Ok(payload);
        }
        let unreadable = |why: Unreadable| {
            let cause = format!("the operator's policy cannot read the answer to {}: {why}", list.word());
            Failure::new(Class::InvalidAnswer, cause)
        };
        cuts.map(|cuts| payload.without(&cuts)).map_err(unreadable)
    }

    fn hears(&self, command: &Command, payload: &Payload) {
        if let Some(pins) = &self.pins {
            pins.hears(&command.channel, payload.text());
        }
    }
}
