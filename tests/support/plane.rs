//! A control plane that does what a test says, and otherwise what the contract says.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::BOUND;
use super::command::{Command, envelope};
use super::contract::Operation;
use super::http::Request;
use super::keys::{self, Keys};
pub use super::posted::{Handed, Posted};
use super::reply::Reply;
use super::server::Server;
use rustls::ServerConfig;

/// The tunnel that all tests use.
pub const TUNNEL: &str = "tunnel_0123456789abcdefghijklmnopqrstuv";

/// How long a wait for a post goes on before the log is looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// A control plane on loopback.
pub struct Plane {
    /// The server beneath, with its request log.
    pub server: Server,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    keys: Keys,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<String>,
    ignore_limit: bool,
    polls: VecDeque<Reply>,
    answers: VecDeque<Reply>,
    answers_for: HashMap<String, VecDeque<Reply>>,
    metadata: Option<Reply>,
    posts: Vec<Posted>,
    handed: Vec<Handed>,
    polls_open: usize,
    polls_open_max: usize,
    stopped: bool,
    /// Requests that the published contract does not accept.
    violations: Vec<String>,
    off_contract: bool,
}

impl Plane {
    /// Plain HTTP.
    pub fn start() -> Plane {
        Plane::start_with(None)
    }

    /// TLS, with client certificates when the configuration asks for them.
    pub fn start_with(tls: Option<Arc<ServerConfig>>) -> Plane {
        let shared: Arc<Shared> = Arc::default();
        let script = Arc::clone(&shared);
        let server = Server::start(tls, Arc::new(move |request| script.answer(request)));
        Plane { server, shared }
    }

    /// Says that it will be asked what the contract does not know, which is meant.
    pub fn off_contract(&self) {
        self.change(|state| state.off_contract = true);
    }

    /// Queues a command; any poll may take it.
    #[track_caller]
    pub fn queue(&self, command: &Command) {
        self.queue_all(std::slice::from_ref(command));
    }

    /// Queues one element of `commands` as text, whether the contract accepts it or not.
    pub fn queue_text(&self, text: String) {
        self.change(|state| state.queue.push_back(text));
    }

    /// Queues commands so that one poll sees them together.
    #[track_caller]
    pub fn queue_all(&self, commands: &[Command]) {
        let kept: Vec<Command> = commands.iter().filter(|one| !one.is_off_contract()).cloned().collect();
        held(Operation::Poll, Reply::json(200, envelope(&kept)));
        self.change(|state| state.queue.extend(commands.iter().map(Command::text)));
    }

    /// From now on polls get everything that is queued, whatever their limit.
    pub fn ignore_limit(&self) {
        self.change(|state| state.ignore_limit = true);
    }

    /// The next poll gets this instead; several are used in order.
    #[track_caller]
    pub fn next_poll(&self, reply: Reply) {
        let reply = held(Operation::Poll, reply);
        self.change(|state| state.polls.push_back(reply));
    }

    /// The next POST to `/response` gets this; several are used in order.
    #[track_caller]
    pub fn next_answer(&self, reply: Reply) {
        let reply = held(Operation::Response, reply);
        self.change(|state| state.answers.push_back(reply));
    }

    /// The next POST for this request id gets this; several are used in order.
    #[track_caller]
    pub fn answer_for(&self, command: &Command, reply: Reply) {
        let reply = held(Operation::Response, reply);
        let id = command.id.clone();
        self.change(|state| state.answers_for.entry(id).or_default().push_back(reply));
    }

    /// What the metadata GET gets from now on.
    #[track_caller]
    pub fn metadata(&self, reply: Reply) {
        let reply = held(Operation::Metadata, reply);
        self.change(|state| state.metadata = Some(reply));
    }

    /// From now on requests with another key than these are refused.
    pub fn accept_keys(&self, keys: &[&str]) {
        self.shared.keys.accept(keys);
    }

    /// All polls so far.
    pub fn polls(&self) -> Vec<Request> {
        self.server.requests().into_iter().filter(is_poll).collect()
    }

    /// Waits until `count` polls have arrived since the start.
    pub fn wait_polls(&self, count: usize) -> Vec<Request> {
        self.server.wait_requests(count, is_poll)
    }

    /// The most polls that were ever open at once.
    pub fn polls_open_max(&self) -> usize {
        self.shared.state.lock().unwrap().polls_open_max
    }

    /// All POSTs so far, in order of arrival.
    pub fn posts(&self) -> Vec<Posted> {
        self.shared.state.lock().unwrap().posts.clone()
    }

    /// What was taken from the queue so far, poll by poll.
    pub fn handed(&self) -> Vec<Handed> {
        self.shared.state.lock().unwrap().handed.clone()
    }

    /// All POSTs of one command so far.
    pub fn posts_of(&self, command: &Command) -> Vec<Posted> {
        self.posts().into_iter().filter(|p| p.json["request_id"] == *command.id).collect()
    }

    /// Waits for the first terminal POST of a command.
    pub fn wait_answer(&self, command: &Command) -> Posted {
        self.wait_answer_within(command, BOUND)
    }

    /// The same with a bound of one's own, for servers that are slow to start.
    pub fn wait_answer_within(&self, command: &Command, bound: Duration) -> Posted {
        self.wait_posts_within(command, bound, 1, |post| post.kind() != "jsonrpc_notify").remove(0)
    }

    /// Whether a command is answered by then.
    pub fn is_answered_by(&self, command: &Command, end: Instant) -> bool {
        let answers =
            |post: &Posted| post.json["request_id"] == *command.id && post.kind() != "jsonrpc_notify";
        let state = self.shared.state.lock().unwrap();
        let left = end.saturating_duration_since(Instant::now());
        let waits = |state: &mut State| !state.posts.iter().any(answers);
        !self.shared.changed.wait_timeout_while(state, left, waits).unwrap().1.timed_out()
    }

    /// The same for a command that may end without an answer: nothing, when there is none and `is_silent` says so.
    pub fn wait_answer_unless(&self, command: &Command, is_silent: impl Fn() -> bool) -> Option<Posted> {
        let end = Instant::now() + BOUND;
        while Instant::now() < end {
            let silent = is_silent();
            let answer = self.posts_of(command).into_iter().find(|post| post.kind() != "jsonrpc_notify");
            if silent || answer.is_some() {
                return answer;
            }
            let state = self.shared.state.lock().unwrap();
            drop(self.shared.changed.wait_timeout(state, LOOK).unwrap());
        }
        panic!("neither an answer to {} nor an end without one", command.text());
    }

    /// Waits for the first POST of all.
    pub fn wait_any_post_within(&self, bound: Duration) {
        let state = self.shared.state.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(state, bound, |state| state.posts.is_empty()).unwrap();
        assert!(!waited.1.timed_out(), "nothing was posted");
    }

    /// Waits until `count` POSTs of a command match.
    pub fn wait_posts(
        &self,
        command: &Command,
        count: usize,
        matches: impl Fn(&Posted) -> bool,
    ) -> Vec<Posted> {
        self.wait_posts_within(command, BOUND, count, matches)
    }

    fn wait_posts_within(
        &self,
        command: &Command,
        bound: Duration,
        count: usize,
        matches: impl Fn(&Posted) -> bool,
    ) -> Vec<Posted> {
        let end = Instant::now() + bound;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            let mine = state.posts.iter().filter(|p| p.json["request_id"] == *command.id);
            let found: Vec<Posted> = mine.filter(|p| matches(p)).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seen: Vec<_> = state.posts.iter().map(|p| p.request.text()).collect();
                drop(state);
                panic!("no answer to {}; posts seen:\n{}", command.text(), seen.join("\n"));
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Stops listening and cuts every connection.
    pub fn stop(&mut self) {
        self.change(|state| state.stopped = true);
        self.server.stop();
        // A poll that nobody reads any more must not take a command after a restart.
        self.server.wait_idle();
    }

    /// Listens again on the same port, with what was queued before.
    pub fn restart(&mut self) {
        self.change(|state| state.stopped = false);
        self.server.restart();
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        work(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop();
        let (violations, meant) = {
            let state = self.shared.state.lock().unwrap();
            (state.violations.join("\n"), state.off_contract)
        };
        if !std::thread::panicking() && !meant && !violations.is_empty() {
            panic!("requests that the published contract does not accept:\n{violations}");
        }
    }
}

/// A scripted reply, held to the contract. A bare status gets the body that the contract demands.
#[track_caller]
fn held(operation: Operation, reply: Reply) -> Reply {
    let Some(said) = reply.said().filter(|_| !reply.is_off_contract()) else { return reply };
    if said.is_empty() && operation.demands_body(reply.code()) && reply.code() >= 400 {
        let body = r#"{"error":{"message":"scripted","type":"scripted"}}"#;
        return reply.header("Content-Type", "application/json").bytes(body);
    }
    if let Err(why) = operation.reply(reply.code(), reply.content_type(), &said) {
        panic!(
            "a reply that the published contract does not know; if it is meant, say off_contract(): {why}"
        );
    }
    reply
}

/// Whether a request is a poll.
pub fn is_poll(request: &Request) -> bool {
    request.method == "GET" && request.path().ends_with("/poll")
}

impl Shared {
    fn answer(&self, request: &Request) -> Reply {
        let accepted = match Operation::of(request) {
            Some(operation) => operation.request(request),
            None => Err("there is no such operation".into()),
        };
        if let Err(why) = accepted {
            let dump: String = request.dump().chars().take(2000).collect();
            self.state.lock().unwrap().violations.push(format!("{why}\n{dump}"));
        }
        if !self.keys.know(request) {
            if request.method == "POST" {
                self.response(request);
            }
            return keys::refusal();
        }
        if is_poll(request) {
            return self.poll(request);
        }
        if request.method == "POST" && request.path().ends_with("/response") {
            return self.response(request);
        }
        if request.method == "GET" && request.path().ends_with(TUNNEL) {
            let scripted = self.state.lock().unwrap().metadata.clone();
            let known = format!(r#"{{"id":"{TUNNEL}","name":"test","description":"","new":1}}"#);
            return scripted.unwrap_or_else(|| Reply::json(200, known));
        }
        Reply::json(404, r#"{"error":{"message":"no such path"}}"#)
    }

    fn poll(&self, request: &Request) -> Reply {
        let number = |name: &str| request.parameter(name).and_then(|v| v.parse::<u64>().ok());
        let hold = Duration::from_millis(number("timeout_ms").unwrap_or(1).min(30_000));
        let limit = usize::try_from(number("limit").unwrap_or(25)).unwrap();
        let mut state = self.state.lock().unwrap();
        state.polls_open += 1;
        state.polls_open_max = state.polls_open_max.max(state.polls_open);
        let idle = |s: &mut State| s.polls.is_empty() && s.queue.is_empty() && !s.stopped;
        let mut state = self.changed.wait_timeout_while(state, hold, idle).unwrap().0;
        state.polls_open -= 1;
        self.changed.notify_all();
        if !request.is_awaited() {
            // A poll that its client has left must not take what the next one is to get.
            return Reply::status(204);
        }
        if let Some(reply) = state.polls.pop_front() {
            return reply;
        }
        let take = if state.ignore_limit { usize::MAX } else { limit }.min(state.queue.len());
        let taken: Vec<String> = state.queue.drain(..take).collect();
        if taken.is_empty() {
            return Reply::status(204);
        }
        let reply = Reply::json(200, format!(r#"{{"commands":[{}]}}"#, taken.join(",")));
        state.handed.push(Handed { commands: taken, port: request.port(), at: Instant::now() });
        reply
    }

    fn response(&self, request: &Request) -> Reply {
        let posted = Posted { request: request.clone(), json: request.json() };
        let id = posted.json["request_id"].as_str().unwrap_or_default().to_owned();
        let mut state = self.state.lock().unwrap();
        state.posts.push(posted);
        self.changed.notify_all();
        let own = state.answers_for.get_mut(&id).and_then(VecDeque::pop_front);
        let scripted = own.or_else(|| state.answers.pop_front());
        scripted.unwrap_or_else(|| Reply::json(200, r#"{"status":"ok"}"#))
    }
}
