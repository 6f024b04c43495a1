//! Documents, aliases with their bounds, and what is refused.

use super::*;

fn first(text: &str) -> Value {
    parse(text).unwrap().0.value
}

fn fault(text: &str) -> (Option<usize>, String) {
    let fault = parse(text).unwrap_err();
    (fault.line, fault.text)
}

#[test]
fn maps_lists_and_scalars_keep_their_lines() {
    let Value::Map(entries) = first("# top\na:\n  b: 1\n  c: '2'\nd: [x, ~]\n") else {
        panic!("a map");
    };
    assert_eq!(entries[0].0, "a");
    assert_eq!(entries[0].1.line, 2);
    let Value::Map(inner) = &entries[0].1.value else { panic!("a map") };
    assert!(matches!(&inner[0].1, Node { line: 3, value: Value::Scalar { plain: true, .. } }));
    assert!(matches!(&inner[1].1, Node { line: 4, value: Value::Scalar { plain: false, .. } }));
    let Value::List(items) = &entries[1].1.value else { panic!("a list") };
    assert!(matches!(items[1].value, Value::Null));
}

#[cfg(feature = "operator")]
#[test]
fn what_is_quoted_is_read_back_as_it_was() {
    for text in [
        "plain",
        "",
        " spaces ",
        "a \"quoted\" 'word'",
        r"C:\temp\new \u0041",
        "# no comment",
        "key: value",
        "- x",
        "{a: [b]}, &c *d !e |f >g %h @i `j",
        "null",
        "true",
        "line\r\nbreak\ttab\0nul\u{1b}[31m",
        "\u{85}\u{2028}\u{2029}\u{feff}\u{9f}",
        "M\u{fc}nchen \u{4e2d}\u{6587} \u{1f980}",
    ] {
        let line = format!("key: {}\n", quoted(text));
        assert_eq!(line.matches('\n').count(), 1);
        let Value::Map(entries) = first(&line) else { panic!("a map") };
        let Value::Scalar { text: read, plain: false } = &entries[0].1.value else { panic!("{line}") };
        assert_eq!(read, text, "{line}");
    }
}

#[test]
fn whether_a_document_is_the_only_one_is_known() {
    for (text, expected) in [
        ("a: 1\n", None),
        ("---\na: 1\n...\n# end\n", None),
        ("a: 1\n---\n", Some((2, "exactly one YAML document is required"))),
        ("a: 1\n---\n&x b: [", Some((2, "exactly one YAML document is required"))),
    ] {
        let (node, only) = parse(text).unwrap();
        assert!(matches!(node.value, Value::Map(entries) if entries.len() == 1), "{text}");
        let fault = only.err().map(|fault| (fault.line.unwrap(), fault.text));
        assert_eq!(fault, expected.map(|(line, text)| (line, text.to_owned())), "{text}");
    }
}

/// What a text means, in one line.
fn meaning(node: &Node) -> String {
    match &node.value {
        Value::Null => "~".into(),
        Value::Scalar { text, .. } => text.clone(),
        Value::List(nodes) => format!("[{}]", nodes.iter().map(meaning).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let members = entries.iter().map(|(key, node)| format!("{key}:{}", meaning(node)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn aliases_mean_what_they_stand_for() {
    for (text, expected) in [
        ("a: &x 1\nb: *x\n", "{a:1 b:1}"),
        ("a: &x [1, {b: 2}]\nc: {d: *x}\n", "{a:[1 {b:2}] c:{d:[1 {b:2}]}}"),
        ("a: &x {y: 1, z: 2}\nb: {<<: *x, z: 3}\n", "{a:{y:1 z:2} b:{z:3 y:1}}"),
        ("a: &x {y: 1}\nb: &z {y: 2, v: 3}\nc: {<<: [*x, *z]}\n", "{a:{y:1} b:{y:2 v:3} c:{y:1 v:3}}"),
        ("&k a: 1\nb: *k\n", "{a:1 b:a}"),
        ("a: &x 1\nb: &x 2\nc: *x\n", "{a:1 b:2 c:2}"),
        ("a: {'<<': 1}\n", "{a:{<<:1}}"),
    ] {
        assert_eq!(meaning(&parse(text).unwrap().0), expected, "{text}");
    }
}

/// A few lines stand for no more than a file may hold, at no depth that a file may not have.
#[test]
fn aliases_are_bounded() {
    let copies = |count: usize, of: &str| format!("a: &x {of}\nb:\n{}", "  - *x\n".repeat(count));
    assert!(parse(&copies(100, "1")).is_ok());
    assert_eq!(fault(&copies(101, "1")), (Some(103), "more than 100 aliases".into()));
    let most = "anchors and aliases stand for more than 1 MiB";
    assert!(parse(&copies(30, &"y".repeat(30_000))).is_ok());
    assert_eq!(fault(&copies(40, &"y".repeat(30_000))), (Some(36), most.into()));
    // Each line stands for ten of the line above.
    let lines = (1..9).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(",")));
    let laughs = format!("a0: &a0 [1]\n{}", lines.collect::<String>());
    assert_eq!(fault(&laughs), (Some(5), most.into()));
    let nested = format!("{}1{}", "&z [".repeat(20), "]".repeat(20)).replacen("&z", "&x", 1);
    let deep = format!("a: {nested}\nb: {}*x{}\n", "[".repeat(10), "]".repeat(10));
    assert!(parse(&deep).is_ok(), "{:?}", parse(&deep));
    let deep = format!("a: {nested}\nb: {}*x{}\n", "[".repeat(11), "]".repeat(11));
    assert_eq!(fault(&deep), (Some(2), "nested deeper than 32 levels".into()));
    assert_eq!(fault("a: &x [*x]\n"), (Some(1), "an alias stands within what it stands for".into()));
    assert_eq!(fault("a: &x\n  b: {<<: *x}\n").1, "an alias stands within what it stands for");
    assert_eq!(fault("a: *x\n").0, Some(1));
    assert!(fault("a: &x 1\nb: {<<: *x}\n").1.starts_with("what is merged must be a map"));
}

#[test]
fn what_is_not_supported_is_refused_with_its_line() {
    assert_eq!(fault(""), (None, "the file is empty".into()));
    assert_eq!(fault("# nothing\n"), (None, "the file is empty".into()));
    assert_eq!(fault("a: 1\na: 2\n"), (Some(2), "duplicate key \"a\"".into()));
    assert_eq!(fault("a: !!str 1\n"), (Some(1), "tags are not supported".into()));
    assert_eq!(fault("[a]: 1\n"), (Some(1), "a key must be text".into()));
    assert_eq!(fault(&format!("{}1", "[".repeat(33))), (Some(1), "nested deeper than 32 levels".into()));
    assert!(parse("a: [1\nb: 2\n").is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
}
