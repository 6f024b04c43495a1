//! Lists of a policed channel: what could not be called is not in them, and everything else is as the server wrote it.

use crate::support::command::Command;
use crate::support::reply::Reply;
use crate::support::rig::Rig;

const RULES: &str = "policy:
  channels:
    main:
      tools: { allow: [search, 'get_*'], deny: ['*_delete'] }
      prompts: { deny: [insult] }
      resources: { allow: ['file:///srv/docs/*'] }
";

fn list(method: &str) -> Command {
    Command::rpc(format!(r#"{{"jsonrpc":"2.0","id":"l-1","method":"{method}","params":{{"cursor":"c"}}}}"#))
}

fn answer(result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"l-1","result":{result}}}"#)
}

/// Lists with their methods: as a server writes them, and as they are posted.
const LISTS: [(&str, &str, &str); 6] = [
    (
        "tools/list",
        r#"{"_meta":{"a":1.50} , "tools" : [ {"name":"delete"}, {"name":"search","inputSchema":{"n":1E2}} ,{"name":"get_delete"}, {"title":"none"} ] ,"nextCursor":"\u0063","ttlMs":60000,"cacheScope":"private","x":[]}"#,
        r#"{"_meta":{"a":1.50} , "tools" : [ {"name":"search","inputSchema":{"n":1E2}} ] ,"nextCursor":"\u0063","ttlMs":60000,"cacheScope":"private","x":[]}"#,
    ),
    ("tools/list", r#"{"tools":[{"name":"Search"},{"name":"get_\u0000"}]}"#, r#"{"tools":[]}"#),
    (
        "prompts/list",
        r#"{"prompts":[{"name":"greet"},{"name":"insul\u0074"},{"name":" greet"}]}"#,
        r#"{"prompts":[{"name":"greet"}]}"#,
    ),
    (
        "resources/list",
        r#"{"resources":[{"uri":"file:///etc/passwd","name":"a"},{"uri":"file:///srv/docs/a","name":"b"},{"uri":"file:///srv/docs/../x","name":"c"}]}"#,
        r#"{"resources":[{"uri":"file:///srv/docs/a","name":"b"}]}"#,
    ),
    (
        "resources/templates/list",
        r#"{"resourceTemplates":[{"uriTemplate":"file:///{+path}"},{"uriTemplate":"file:///srv/docs/{name}"},{"uriTemplate":"{+any}"}]}"#,
        r#"{"resourceTemplates":[{"uriTemplate":"file:///srv/docs/{name}"}]}"#,
    ),
    ("tools/call", r#"{"tools":[{"name":"delete"}]}"#, r#"{"tools":[{"name":"delete"}]}"#),
];

/// Over JSON, over a stream, and with an id that has to be put in: only entries go.
#[test]
fn entries_that_could_not_be_called_are_cut_out() {
    let rig = Rig::with(|b| b.yaml(RULES));
    for (method, result, left) in LISTS {
        let command = || match method {
            "tools/call" => Command::rpc(
                r#"{"jsonrpc":"2.0","id":"l-1","method":"tools/call","params":{"name":"search"}}"#,
            ),
            _ => list(method),
        };
        for reply in [Reply::json(200, answer(result)), Reply::sse().event(answer(result)).close()] {
            rig.mcp.reply(method, reply);
            let posted = rig.send(&command());
            assert_eq!((posted.code(), posted.payload_text()), (200, answer(left)), "{method}");
        }
        rig.mcp.reply(
            method,
            Reply::json(200, format!(r#"{{"result":{result},"jsonrpc":"2.0","id":"l\u002d1"}}"#)),
        );
        let whole = format!(r#"{{"result":{left},"jsonrpc":"2.0","id":"l-1"}}"#);
        assert_eq!(rig.send(&command()).payload_text(), whole, "{method}");
    }
}

/// What a client could read in another way is refused whole; an error of the server is none of this.
#[test]
fn a_list_that_cannot_be_read_is_refused() {
    let mut rig = Rig::with(|b| b.yaml(RULES));
    for result in [
        r#"{"tools":[{"name":"search"}],"tools":[{"name":"delete"}]}"#,
        r#"{"tools":[{"name":"search"}],"Tools":[{"name":"delete"}]}"#,
        r#"{"tools":{"name":"delete"}}"#,
        r#"[{"name":"delete"}]"#,
    ] {
        rig.mcp.reply("tools/list", Reply::json(200, answer(result)));
        let posted = rig.send(&list("tools/list"));
        assert_eq!(
            (posted.code(), posted.cause().as_str()),
            (502, "protocol/invalid_protocol_response"),
            "{result}"
        );
        assert!(!posted.payload_text().contains("delete"));
    }
    let error = r#"{"jsonrpc":"2.0","id":"l-1","error":{"code":-32601,"message":"no","data":{"tools":[{"name":"delete"}]}}}"#;
    for status in [200, 404] {
        rig.mcp.reply("tools/list", Reply::json(status, error));
        assert_eq!(rig.send(&list("tools/list")).payload_text(), error);
    }
    rig.client.stop();
    assert!(rig.client.log().contains("the operator's policy cannot read the answer to tools/list"));
}

/// A policy that only observes changes nothing.
#[test]
fn lists_pass_whole_where_nothing_is_refused() {
    let rig = Rig::with(|b| b.yaml(&RULES.replace("policy:", "policy:\n  mode: observe")));
    let odd = r#"{"tools":[{"name":"search"}],"Tools":[{"name":"delete"}]}"#;
    for (method, result) in
        LISTS.iter().map(|(method, result, _)| (*method, *result)).chain([("tools/list", odd)])
    {
        rig.mcp.reply(method, Reply::json(200, answer(result)));
        assert_eq!(rig.send(&list(method)).payload_text(), answer(result));
    }
}

/// Changes are still told, and what was told of a tool that is hidden is not looked at.
#[test]
fn notifications_of_changes_pass() {
    let rig = Rig::with(|b| b.yaml(RULES));
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"tools":[{"name":"delete"}]}}"#;
    rig.mcp.reply(
        "tools/list",
        Reply::sse().event(changed).event(answer(r#"{"tools":[{"name":"delete"}]}"#)).close(),
    );
    let command = list("tools/list");
    assert_eq!(rig.send(&command).payload_text(), answer(r#"{"tools":[]}"#));
    let posts = rig.plane.posts_of(&command);
    let told: Vec<_> = posts.iter().filter(|post| post.kind() == "jsonrpc_notify").collect();
    assert_eq!((told.len(), told[0].payload_text().as_str()), (1, changed));
}
