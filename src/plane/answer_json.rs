//! The body of a post: a frame of our own around a payload that is never copied.
//!
//! An answer of 60 MiB would otherwise exist twice for every courier. The frame is small: a request id of
//! at most 4 KiB and six headers. It cannot fail.

use std::time::Duration;

use crate::relay::command::Command;
use crate::relay::port::{Answer, Timing};

/// Longest time of a server that is told.
const ELAPSED_MAX: Duration = Duration::from_secs(24 * 3600);

/// What stands before and behind the payload of an answer. Members that have no value are left out,
/// as the contract wants it. The shard token is no member: it travels in a header.
pub(super) fn frame(command: &Command, answer: &Answer) -> (String, String) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (request_id, channel) = (quoted(&command.request_id), quoted(command.channel.as_str()));
    let payload = if answer.payload.is_some() { ",\"resp_json\":" } else { "" };
    let head = format!("{{\"request_id\":{request_id},\"channel\":{channel}{payload}");

    let headers = answer.headers.by_name();
    let headers = match serde_json::to_string(headers) {
        Ok(text) if !headers.is_empty() => format!(",\"resp_headers\":{text}"),
        // Lists of strings can always be written; the type does not say so.
        _ => String::new(),
    };
    let (status, kind) = (answer.status, answer.kind.word());
    let timing = answer.timing.and_then(timing).unwrap_or_default();
    (head, format!("{headers},\"resp_code\":{status},\"resp_type\":\"{kind}\"{timing}}}"))
}

/// The member that tells how long a server took, unless that is more than the plane takes.
fn timing(timing: Timing) -> Option<String> {
    let elapsed_us = Some(timing.elapsed).filter(|elapsed| *elapsed <= ELAPSED_MAX)?.as_micros();
    let transport = timing.transport;
    Some(format!(
        ",\"resp_timing\":{{\"version\":1,\"transport\":\"{transport}\",\"target_elapsed_us\":{elapsed_us}}}"
    ))
}

#[cfg(test)]
mod tests {

    use ureq::http::HeaderValue;

    use super::*;
    use crate::relay::headers::ReplyHeaders;
    use crate::relay::inflight::InFlight;
    use crate::relay::payload::Payload;
    use crate::relay::port::AnswerKind;

    fn posted(kind: AnswerKind, headers: ReplyHeaders, payload: Option<Payload>) -> String {
        let command = Command {
            request_id: "a\"\n\u{e4}".into(),
            shard_token: HeaderValue::from_static("token"),
            ..Command::example(InFlight::default().enter(0))
        };
        let answer = Answer { kind, status: 204, headers, payload, timing: None };
        let (head, tail) = frame(&command, &answer);
        let payload = answer.payload.map(|payload| payload.parts().concat()).unwrap_or_default();
        format!("{head}{}{tail}", String::from_utf8(payload).unwrap())
    }

    #[test]
    fn cp_091_members_without_a_value_are_left_out() {
        let text = posted(AnswerKind::SessionTermination, ReplyHeaders::default(), None);
        let expected = "{\"request_id\":\"a\\\"\\n\u{e4}\",\"channel\":\"main\",\"resp_code\":204,\
                        \"resp_type\":\"session_termination_response\"}";
        assert_eq!(text, expected);
    }

    /// NEW-032, NEW-033: rounded down, and left out above a day.
    #[test]
    fn times_of_servers_are_told_up_to_a_day() {
        let told = |elapsed| timing(Timing { transport: "stdio", elapsed });
        let text = |us: u64| {
            format!(",\"resp_timing\":{{\"version\":1,\"transport\":\"stdio\",\"target_elapsed_us\":{us}}}")
        };
        assert_eq!(told(Duration::from_nanos(1_999)), Some(text(1)));
        assert_eq!(told(Duration::ZERO), Some(text(0)));
        assert_eq!(told(ELAPSED_MAX), Some(text(86_400_000_000)));
        assert_eq!(told(ELAPSED_MAX + Duration::from_nanos(1)), None);
    }

    #[test]
    fn cp_096_the_payload_stands_in_the_frame_as_it_is() {
        let payload = Payload::own("{ \"id\": 1.50 }".into());
        let headers = ReplyHeaders::default().with_json_content();
        let text = posted(AnswerKind::Response, headers, Some(payload));
        assert!(text.contains(",\"resp_json\":{ \"id\": 1.50 },\"resp_headers\":"), "{text}");
        assert!(text.contains("{\"Content-Type\":[\"application/json\"]},\"resp_code\":204"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
