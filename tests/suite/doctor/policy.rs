//! What `doctor` says of the operator's policy.

use super::{Findings, doctor};
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::result_for;
use crate::support::temp::TempDir;

const RULES: &str = "policy:
  mode: observe
  channels:
    main:
      tools: { allow: [search, 'get_*'], deny: [drop] }
      prompts: { deny: [insult] }
      limits: [{ tools: ['get_*'], per_minute: 60 }]
    harpoon:
      tools: { allow: [list_targets, orders, stock] }
harpoon:
  targets: [{ label: orders, url: 'http://127.0.0.1:9/o' }]
";

/// Rules are shown beside what is offered; nothing of it fails.
#[test]
fn rules_are_compared_with_what_is_offered() {
    let (plane, mcp) = (Plane::start(), Mcp::start());
    mcp.hook(|request| {
        let tools = r#"{"tools":[{"name":"search"},{"name":"drop_all"},{"name":"list"}]}"#;
        (request.rpc_method() == "tools/list").then(|| result_for(&request.body, tools))
    });
    let found = Findings::of(
        doctor(&plane.server.origin())
            .yaml(RULES)
            .flag("mcp.server-url", &mcp.url())
            .argument("--harpoon.allow-plaintext-http"),
    );
    assert_eq!(found.status("policy"), "PASS");
    let warned = "observed, which refuses nothing: tools: 2 allowed, 1 denied; prompts: 1 denied; limits: 1. WARNING: \
                  deny without allow is no boundary (prompts): name what may be used";
    assert_eq!(found.summary("policy"), warned);
    let evidence = serde_json::json!([
        "policy.channels.main.tools.allow: get_* matches no tool that is offered now",
        "policy.channels.main.tools.deny: drop matches no tool that is offered now",
        "policy.channels.main.limits, entry 1.tools: get_* matches no tool that is offered now",
        "refused, since no rule mentions them (2): drop_all, list"
    ]);
    assert_eq!(found.check("policy")["evidence"], evidence);
    let evidence = serde_json::json!([
        "policy.channels.harpoon.tools.allow: stock matches no tool that is offered now",
        "refused, since no rule mentions them (1): get_oauth_target_audience"
    ]);
    assert_eq!(found.check("policy:harpoon")["evidence"], evidence);
}

/// The pin file and the place of audit records: what `run` would find, and nothing of it is made or changed.
#[test]
fn pins_and_records_are_looked_at() {
    let (plane, mcp, directory) = (Plane::start(), Mcp::start(), TempDir::new());
    mcp.hook(|request| {
        let tools = r#"{"tools":[{"name":"search"}]}"#;
        (request.rpc_method() == "tools/list").then(|| result_for(&request.body, tools))
    });
    let (pins, audit) = (directory.join("pins.json"), directory.join("audit.jsonl"));
    let look = |mode: &str| {
        let yaml = format!(
            "policy:\n  pins: {{ file: {}, mode: {mode} }}\naudit:\n  file: {}\n",
            pins.display(),
            audit.display()
        );
        Findings::of(doctor(&plane.server.origin()).yaml(&yaml).flag("mcp.server-url", &mcp.url()))
    };
    let found = look("warn");
    assert_eq!((found.status("pins"), found.status("audit")), ("FAIL", "PASS"));
    assert!(found.summary("pins").contains("make it with tunnel-client pins accept"));
    assert!(!audit.exists());
    std::fs::write(&pins, r#"{"version": 1, "channels": []}"#).unwrap();
    std::fs::create_dir(&audit).unwrap();
    let found = look("block");
    assert_eq!((found.status("pins"), found.status("audit")), ("PASS", "FAIL"));
    assert!(found.summary("pins").ends_with("; what is not accepted is refused"));
    assert_eq!(found.check("pins")["evidence"], serde_json::json!(["main: search: new"]));
    assert!(found.summary("audit").ends_with("not a regular file"));
}
