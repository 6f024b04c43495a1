//! What `doctor` says of the operator's policy.

use super::{Findings, doctor};
use crate::support::mcp::Mcp;
use crate::support::plane::Plane;
use crate::support::reply::result_for;

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
