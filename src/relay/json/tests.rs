//! Tests of the reading of JSON.

use super::*;

#[test]
fn accepts_what_is_json_and_nothing_else() {
    for good in [
        "0",
        "-1.5e+10",
        "\"\"",
        "\"\\u00e4\\n\"",
        "[]",
        "{}",
        " [1, {\"a\":[true,false,null]}] ",
        "{\"a\":{\"b\":[]},\"c\":[[],{}]}",
        "1E5",
        "\"\u{e4}\"",
        "[[[[]]],1]",
    ] {
        assert!(value(good).is_ok(), "{good}");
        assert!(serde_json::from_str::<serde_json::Value>(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        " ",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "tru",
        "nul",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[1 2]",
        "\"\t\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"",
        "[",
        "{",
        "[}",
        "{]",
        "1 2",
        "[]]",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
    ] {
        assert!(value(bad).is_err(), "{bad}");
    }
}

#[test]
fn depth_is_bounded_and_takes_no_stack() {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(value(&deep(DEPTH_MAX)).is_ok());
    assert_eq!(value(&deep(DEPTH_MAX + 1)), Err(Fault { offset: DEPTH_MAX }));
    assert!(value(&"[".repeat(5_000_000)).is_err());
    // Brackets in strings, and beside each other, are not deep.
    for wide in [format!("[\"{}\"]", "[".repeat(DEPTH_MAX)), format!("[{}0]", "[],".repeat(DEPTH_MAX))] {
        assert!(value(&wide).is_ok());
    }
}

#[test]
fn members_have_unescaped_names_and_exact_spans() {
    let text = " { \"a\" : 1.50 , \"\\u0062\\u0022\" : { \"x\" : [ ] } } ";
    let found = members(text, value(text).unwrap()).unwrap().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].name.as_ref(), found[0].value.of(text)), ("a", "1.50"));
    assert_eq!((found[1].name.as_ref(), found[1].value.of(text)), ("b\"", "{ \"x\" : [ ] }"));
}

#[test]
fn one_reading_lists_what_stands_under_a_path() {
    let text = r#" {"a":1,"params" : {"x":[],"_m\u0065ta":{"k":"v" } , "y":{} } ,"_meta":{"no":0}}"#;
    let [all, params, meta] = outline::<3>(text, &["params", "_meta"]).unwrap().1.unwrap();
    let shown = |list: &[Member<'_>]| {
        list.iter().map(|one| format!("{}={}", one.name, one.value.of(text))).collect::<Vec<_>>()
    };
    assert_eq!(shown(&all)[1], r#"params={"x":[],"_m\u0065ta":{"k":"v" } , "y":{} }"#);
    assert_eq!(shown(&params), ["x=[]", r#"_meta={"k":"v" }"#, "y={}"]);
    assert_eq!(shown(&meta), [r#"k="v""#]);
    for value in ["{}", "[]", "[ ]", "{ }", "[ 1 , 2 ]", "7", "null", "\"{\"", "[[[]]]"] {
        let text = format!("{{\"c\":\t{value} ,\"d\":{value}}}");
        let [all, _] = outline::<2>(&text, &["c"]).unwrap().1.unwrap();
        assert_eq!(all.iter().map(|one| one.value.of(&text)).collect::<Vec<_>>(), [value; 2]);
    }
    let [_, elements] = listed("{\"c\":[1,[2]]}", Span { start: 0, end: 13 }, &["c"]).unwrap();
    assert_eq!((elements.len(), elements[1].value), (2, Span { start: 8, end: 11 }));
    // The last one of a name is never shortened by the one before.
    let twice = "{\"c\":{\"x\":1},\"c\":{}}";
    assert_eq!(outline::<2>(twice, &["c"]).unwrap().1.unwrap()[0][1].value.of(twice), "{}");
}

#[test]
fn other_kinds_have_no_members_or_elements() {
    assert!(members("[1]", value("[1]").unwrap()).unwrap().is_none());
    assert!(elements("{}", value("{}").unwrap()).unwrap().is_none());
    let text = "[1, [2], {}]";
    let spans = elements(text, value(text).unwrap()).unwrap().unwrap();
    assert_eq!(spans.iter().map(|s| s.of(text)).collect::<Vec<_>>(), ["1", "[2]", "{}"]);
}

#[test]
fn a_name_without_a_text_is_cut_at_a_nul_alone() {
    let name = |text: &'static str| members(text, value(text).unwrap()).unwrap().unwrap().remove(0).name;
    assert_eq!(name(r#"{"a\u0064\u0000\ud800":1}"#), "ad\0");
    // Digits behind an escaped backslash are digits.
    assert_eq!(name(r#"{"a\\u0000\ud800":1}"#), r"a\\u0000\ud800");
}
