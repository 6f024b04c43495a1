//! Topics of `tunnel-client help`, which are a part of the program: hosts where nobody can look anything up have them too.

/// Name, summary and text of every topic, in the order of a newcomer's questions.
pub(super) const TOPICS: [(&str, &str, &str); 8] = [
    ("quickstart", "From nothing to a tool call", include_str!("help/quickstart.txt")),
    ("samples", "Which profile to start from", include_str!("help/samples.txt")),
    ("doctor", "What each check means", include_str!("help/doctor.txt")),
    ("policy", "Which calls pass, and how often", include_str!("help/policy.txt")),
    ("oauth", "What protected servers can count on", include_str!("help/oauth.txt")),
    ("audit", "A record of every command, and how to check it", include_str!("help/audit.txt")),
    ("pins", "How changed tools are noticed", include_str!("help/pins.txt")),
    ("troubleshooting", "What to do, by symptom", include_str!("help/troubleshooting.txt")),
];
