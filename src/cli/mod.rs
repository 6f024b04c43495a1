//! The command line: one table of commands, and a file for what each does.
//!
//! This room turns arguments into a command, and a command's end into an exit code: 0 when it did what was
//! asked, 1 with one line on standard error when it did not, 2 when it looked at something and found it
//! wanting. It decides nothing else.

// From words to a command.
mod command;
mod dispatch;
mod topics;
mod usage;

// How commands speak.
mod terminal;

// The commands, and what profiles are made from.
mod admin;
mod audit;
mod completion;
#[cfg(feature = "dev")]
mod dev;
mod doctor;
mod edit;
mod editor;
mod health;
mod help;
mod init;
mod pins;
mod place;
mod profiles;
mod samples;
mod schema;
mod support;
mod ui;

use std::process::ExitCode;

use crate::service::{self, Failure, print, run};

use command::Command;

/// Every command, in the order in which help and completions list them.
#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    #[cfg(feature = "dev")]
    Command::new(&["demo"], "Watch a whole tunnel work here, with nothing to configure", "demo --once", dev::demo::command)
        .with_options(dev::demo::OPTIONS),
    Command::new(&["init"], "Write a first profile", "init --tunnel-id tunnel_... --mcp-server-url http://127.0.0.1:8000/mcp", init::command).with_options(init::OPTIONS),
    Command::new(&["doctor"], "Check settings, connections and servers before run does", "doctor --profile default --explain", doctor::command)
        .with_options(doctor::OPTIONS).with_settings(),
    Command::new(&["run"], "Relay commands until a signal ends it", "run --profile default", run::command).with_settings(),
    Command::new(&["health"], "Ask a running client how it is", "health --port 8080 --require-control-plane-poll", health::command)
        .with_options(health::OPTIONS).with_details(include_str!("help/health.txt")),
    Command::new(&["support"], "Write one text about a tunnel, running or not, for whoever helps", "support --profile default --output support.txt", support::command)
        .with_options(support::OPTIONS).with_settings().with_details(include_str!("help/support.txt")),
    Command::new(&["ui"], "Show the page of a running client in a browser of this host", "ui --profile work", ui::command)
        .with_options(ui::OPTIONS).with_selected(place::SETTINGS).with_details(include_str!("help/ui.txt")),
    Command::new(&["profiles", "list"], "List the profiles", "profiles list --json", profiles::list)
        .with_options(profiles::LIST_OPTIONS).with_details(include_str!("help/profiles_list.txt")),
    Command::new(&["profiles", "add"], "Add a profile from a file or a sample", "profiles add work --from-file work.yaml", profiles::add)
        .with_options(profiles::ADD_OPTIONS).with_arguments(&["<name>"]),
    Command::new(&["profiles", "edit"], "Change a profile in an editor and check it", "profiles edit work", edit::command)
        .with_options(profiles::OPTIONS).with_arguments(&["<name>"]),
    Command::new(&["profiles", "schema"], "Print the JSON Schema of a profile, for editors", "profiles schema > profile.schema.json", schema::command),
    Command::new(&["profiles", "samples", "list"], "List the samples of profiles", "profiles samples list", profiles::samples_list)
        .with_options(profiles::OPTIONS),
    Command::new(&["profiles", "samples", "show"], "Show a sample and what it needs", "profiles samples show sample_mcp_stdio_local", profiles::samples_show)
        .with_options(profiles::OPTIONS).with_arguments(&["<name>"]),
    Command::new(&["admin", "tunnels", "create"], "Create a tunnel", "admin tunnels create --name tickets --organization-id org_...", admin::create)
        .with_options(admin::FORM).with_selected(admin::SETTINGS).with_details(admin::DETAILS),
    Command::new(&["admin", "tunnels", "get"], "Show a tunnel; the runtime key will do", "admin tunnels get tunnel_... --json", admin::get)
        .with_arguments(&["<id>"]).with_options(admin::GET).with_selected(admin::SETTINGS).with_details(admin::DETAILS),
    Command::new(&["admin", "tunnels", "list"], "List the tunnels of an organization, workspace or tenant", "admin tunnels list --organization-id org_...", admin::list)
        .with_options(admin::LIST).with_selected(admin::SETTINGS).with_details(admin::DETAILS),
    Command::new(&["admin", "tunnels", "update"], "Change what is given, and nothing else", "admin tunnels update tunnel_... --description 'Tickets of the shop'", admin::update)
        .with_arguments(&["<id>"]).with_options(admin::FORM).with_selected(admin::SETTINGS).with_details(admin::DETAILS),
    Command::new(&["admin", "tunnels", "delete"], "Delete a tunnel", "admin tunnels delete tunnel_... --confirm", admin::delete)
        .with_arguments(&["<id>"]).with_options(admin::DELETE).with_selected(admin::SETTINGS).with_details(admin::DETAILS),
    Command::new(&["audit", "verify"], "Check that files of audit records are whole", "audit verify /var/log/tunnel-client/prod.audit.jsonl", audit::verify)
        .with_arguments(&["<file>", "[file...]"]).with_options(audit::OPTIONS).with_details(include_str!("help/audit_verify.txt")),
    Command::new(&["pins", "accept"], "Accept the tools that servers offer, of all channels or of some", "pins accept --profile work", pins::accept)
        .with_arguments(&["[channel...]"]).with_settings().with_details(pins::DETAILS),
    Command::new(&["pins", "show"], "Show the tools that were accepted", "pins show --profile work", pins::show)
        .with_settings().with_details(pins::DETAILS),
    Command::new(&["pins", "diff"], "Tell which tools are not as they were accepted", "pins diff main --profile work", pins::diff)
        .with_arguments(&["[channel...]"]).with_settings().with_details(pins::DETAILS),
    #[cfg(feature = "dev")]
    Command::new(&["dev", "proxy"], "Serve one MCP server through a tunnel on this host", "dev proxy --mcp-server-url http://127.0.0.1:8000/mcp", dev::proxy::command)
        .with_options(dev::proxy::OPTIONS).with_details(include_str!("help/dev_proxy.txt")),
    #[cfg(feature = "dev")]
    Command::new(&["dev", "plane"], "Serve a control plane for rehearsals that takes any key", "dev plane --listen 127.0.0.1:8098 --fail 503:0.2", dev::plane::command)
        .with_options(dev::plane::OPTIONS).with_details(include_str!("help/dev_plane.txt")),
    #[cfg(feature = "dev")]
    Command::new(&["dev", "mcp-stub"], "Serve a stub MCP server to try a tunnel with", "dev mcp-stub --listen-addr 127.0.0.1:8000", dev::mcp_stub::command)
        .with_options(dev::mcp_stub::OPTIONS),
    Command::new(&["help"], "Explain a topic or a command", "help troubleshooting", help::command).with_arguments(&["[topic|command...]"]),
    Command::new(&["completion"], "Print a script that completes commands and flags", "completion bash > ~/.local/share/bash-completion/completions/tunnel-client", completion::command)
        .with_arguments(&["<bash|zsh|fish>"]),
];

/// Runs the command that the process was started with. Without one, help is what was asked for.
pub fn main() -> ExitCode {
    service::program(|arguments| dispatch::dispatch(COMMANDS, arguments))
}
