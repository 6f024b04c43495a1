//! Messages that two programs could read differently: they pass in neither direction.

use serde_json::json;

use crate::support::command::Command;
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::Reply;
use crate::support::rig::Rig;
use crate::support::stdio;

/// Members of the envelope that some readers take for one that counts.
const ENVELOPE: [&str; 9] = [
    r#""ID":2"#,
    r#""Id\u0000x":2"#,
    r#""id\u0000\ud800":2"#,
    r#""METHOD":"dropped""#,
    r#""method\u0000":"dropped""#,
    r#""JsonRpc":"2.0""#,
    r#""param\u017f":{}"#,
    r#""re\u017fult":{}"#,
    r#""Error":{}"#,
];

/// The same inside `params`, and what stands there twice.
const PARAMS: [&str; 13] = [
    r#""Name":"a""#,
    r#""name":"a","n\u0061me":"a""#,
    r#""URI":"file:///a""#,
    r#""uri":"file:///a","uri":"file:///b""#,
    r#""_META":{}"#,
    r#""_meta":{},"_meta":{}"#,
    r#""_meta":{"progressTo\u212aen":1}"#,
    r#""_meta":{"progressToken":1,"progressToken":2}"#,
    r#""progresstoken":1"#,
    r#""requestid":1"#,
    r#""requestId":1,"requestId":2"#,
    r#""Arguments":{}"#,
    r#""arguments":{},"argument\u017f":{}"#,
];

/// Commands that must reach nobody, and some beside them that only look strange.
fn commands() -> (Vec<Command>, Vec<Command>) {
    let call = |more: &str| Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"dropped",{more}}}"#));
    let refused = ENVELOPE.into_iter().map(call);
    let refused = refused.chain(PARAMS.iter().map(|more| call(&format!(r#""params":{{{more}}}"#))));
    let kept = [
        r#""x":1,"X":1,"ident":1,"params":{"names":1,"NAMES":1,"arguments":{"name":1,"Name":2,"ID":3,"id":4}}"#,
        r#""\u0000id":1,"params":{"id":1,"ID":2,"_meta":{"name":1,"Name":2}}"#,
    ];
    let kept = kept.map(|more| Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo",{more}}}"#)));
    (refused.map(Command::off_contract).collect(), kept.map(Command::off_contract).into())
}

/// Over HTTP: each is answered 400, under its id where the envelope leaves no doubt.
#[test]
fn ambiguous_commands_reach_no_server() {
    let (refused, kept) = commands();
    let plane = Plane::start();
    plane.ignore_limit();
    plane.queue_all(&refused);
    plane.queue_all(&kept);
    let rig = Rig::over(plane, Mcp::start(), |b| b);
    for (number, command) in refused.iter().enumerate() {
        let answer = rig.plane.wait_answer(command);
        assert_eq!((answer.kind(), answer.code()), ("jsonrpc_response", 400), "{}", command.text());
        let id = if number < ENVELOPE.len() { json!(null) } else { json!(1) };
        assert_eq!(answer.payload()["id"], id, "{}", command.text());
    }
    for command in &kept {
        assert_eq!(rig.plane.wait_answer(command).code(), 200, "{}", command.text());
    }
    assert_eq!((rig.mcp.calls_of("dropped").len(), rig.mcp.calls_of("echo").len()), (0, kept.len()));
}

/// Over stdio: none is written.
#[test]
fn ambiguous_commands_are_not_written() {
    let rig = stdio::Rig::start("plain");
    rig.open();
    let (refused, kept) = commands();
    for command in &refused {
        assert_eq!(rig.send(command).code(), 400, "{}", command.text());
    }
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"RequestID":2}}"#;
    rig.send(&Command::rpc(cancelled));
    for command in &kept {
        assert_eq!(rig.send(command).code(), 200, "{}", command.text());
    }
    assert_eq!(rig.journal.words(), ["(start)", "echo", "echo"]);
}

/// Answers and notifications of servers over HTTP, as JSON and in streams: a failure of the server.
#[test]
fn ambiguous_answers_are_no_answers() {
    let rig = Rig::start();
    let good = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let answers = [r#""ID":2"#, r#""id\u0000":2"#, r#""Result":{}"#, r#""re\u017fult":{}"#, r#""ERROR":{}"#];
    let answers = answers.map(|more| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{}},{more}}}"#));
    let notes = [r#""progressToken":1,"ProgressToken":2"#, r#""_Meta":{}"#, r#""_meta":{"progresstoken":1}"#];
    let notes = notes.map(|params| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{{params}}}}}"#)
    });
    let json = answers.iter().map(|answer| Reply::json(200, answer.clone()));
    let events = answers.iter().chain(&notes).map(|event| Reply::sse().event(event).event(good));
    for reply in json.chain(events) {
        rig.mcp.reply("m", reply);
        let command = Command::method("m", "1");
        let answer = rig.send(&command);
        assert_eq!((answer.code(), answer.cause().as_str()), (502, "protocol/invalid_protocol_response"));
        assert_eq!(rig.plane.posts_of(&command).len(), 1);
    }
    rig.assert_alive();
}

/// Over stdio such lines are noise: they end no call, and the answer after them does.
#[test]
fn ambiguous_lines_of_a_server_are_noise() {
    let mut rig = stdio::Rig::start("plain");
    rig.open();
    let lines = [
        r#"{"jsonrpc":"2.0","ID":0,"id":$ID,"result":{"n":0}}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"Result":{},"result":{"n":0}}"#,
        r#"{"jsonrpc":"2.0","id":$ID,"i\u0064":$ID,"result":{"n":0}}"#,
        r#"{"jsonrpc":"2.0","method":"n","params":{"_meta":{},"_Meta":{}}}"#,
    ];
    let text = json!(lines.map(|line| format!("{line}\n")).concat());
    let answer = rig.call("recite", &format!(r#""n":5,"text":{text}"#));
    assert_eq!((answer.code(), &answer.payload()["result"]["n"]), (200, &json!(5)));
    assert_eq!(rig.plane.posts().iter().filter(|post| post.kind() == "jsonrpc_notify").count(), 0);
    rig.wait_metric("noise", 4.0);
}
