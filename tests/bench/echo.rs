//! The stdio server of the benchmark: this very binary, so that nothing else need be built.

use std::io::{self, BufRead, Write};
use std::thread;
use std::time::Duration;

/// The argument by which the binary becomes the server. Whatever follows it only marks the process.
pub const ARGUMENT: &str = "--stdio-server";

/// The list of tools, as a member of a result: the one that is called.
pub const OFFERS: &str = "\"tools\":[{\"name\":\"echo\",\"inputSchema\":{\"type\":\"object\"}}],";

/// The command line of a server with these marks.
pub fn command(marks: &str) -> String {
    let own = std::env::current_exe().expect("the path of this binary");
    format!("{} {ARGUMENT} {marks}", own.display())
}

/// Answers every request until its input ends: with `n` of the request, a text of `bytes`, after
/// `wait` milliseconds, and one progress notification before it if there is a token. Text is cut, not parsed: the relay is measured.
pub fn serve() {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let Some(id) = member(&line, "id") else { continue };
        let mut answer = String::new();
        if let Some(token) = member(&line, "progressToken") {
            answer = format!(
                "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{token},\"progress\":1}}}}\n"
            );
        }
        if let Some(wait) = number(&line, "wait").filter(|wait| *wait > 0) {
            thread::sleep(Duration::from_millis(wait));
        }
        let n = member(&line, "n").unwrap_or("null");
        let bytes = number(&line, "bytes").and_then(|bytes| usize::try_from(bytes).ok());
        let text = "y".repeat(bytes.unwrap_or(1024));
        let offers = match member(&line, "method") {
            Some("\"initialize\"") => "\"protocolVersion\":\"2025-06-18\",",
            Some("\"tools/list\"") => OFFERS,
            _ => "",
        };
        answer.push_str(&format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{{offers}\"n\":{n},\"text\":\"{text}\"}}}}\n"
        ));
        if out.write_all(answer.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

/// The text of a member that is a number or a plain string.
fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()
}

fn number(text: &str, name: &str) -> Option<u64> {
    member(text, name)?.parse().ok()
}
