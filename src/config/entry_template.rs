//! The template of an entry of `harpoon.targets`, and what may stand beside it.

use std::sync::Arc;

use super::binding::Entry;
use super::template::Template;
use super::yaml::Fault;

/// Keys of an entry that a template says itself.
const OF_TEMPLATES: [&str; 3] = ["headers", "max_request_bytes", "methods"];

/// Checks that an entry has an address or a template, in the words of the reference client, and reads the template.
/// Its fixed headers take the place of the entry's own.
pub(super) fn read(list: &str, entry: &mut Entry, is_second: bool) -> Result<(), Fault> {
    let label = entry.get("label").unwrap_or_default().to_owned();
    let wrong = |what: &str| Err(Fault::at(entry.line, format!("{list} entry {label:?}{what}")));
    let has = |key: &str| entry.pairs.iter().any(|(name, _)| name.split('.').next() == Some(key));
    let Some(node) = &entry.tree else {
        return if entry.get("url").is_some() { Ok(()) } else { wrong(" requires url or template") };
    };
    if !is_second {
        return wrong(": template requires config_version: 2");
    }
    if has("url") || has("unix_socket") {
        return wrong(": template cannot be combined with url or unix_socket");
    }
    if let Some(key) = OF_TEMPLATES.into_iter().find(|key| has(key)) {
        return wrong(&format!(": template cannot be combined with {key}"));
    }
    let (template, fixed) = Template::read(format!("{list} entry {label:?}: template"), node.clone())?;
    entry.pairs.extend(fixed.into_iter().map(|(name, text)| (format!("headers.{name}"), text)));
    entry.template = Some(Arc::new(template));
    Ok(())
}
