//! HTML of the operator's page: tables and texts, without scripts.
//!
//! Whatever comes from outside, and that is nearly all text on it, passes the redactor, is cut, and is escaped
//! here. It cannot fail.

use std::fmt::{Display, Write};

use crate::crypto;
use crate::ops::redact::Redactor;
use crate::text::{MAX_FOREIGN_BYTES, bounded};

const STYLE: &str = "body{font:14px/1.4 sans-serif;margin:2em auto;max-width:75em;padding:0 1em}\
    table{border-collapse:collapse;margin:.5em 0}td,th{border:1px solid #999;padding:.2em .6em;text-align:left;\
    vertical-align:top}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;max-height:20em;overflow:auto}";

/// The style sheet, as a policy of content names it.
pub(super) fn style_source() -> String {
    format!("'sha256-{}'", crypto::sha256_base64(STYLE.as_bytes()))
}

/// HTML page that is being written.
pub(in crate::service) struct Page<'a> {
    pub(super) text: String,
    pub(super) redactor: &'a Redactor,
}

impl Page<'_> {
    /// Everything up to the first table.
    pub(super) fn begin(&mut self, title: &str) {
        self.write(format_args!(
            "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>tunnel-client: {title}</title><style>{STYLE}</style></head><body>\n\
             <h1>tunnel-client: {title}</h1>\n<p>Also here: <a href=/healthz>/healthz</a> \
             <a href=/readyz>/readyz</a> <a href=/metrics>/metrics</a></p>\n<table>\n"
        ));
    }

    pub(super) fn head(&mut self, title: &str) {
        let title = self.shown(title);
        self.write(format_args!("<h2>{title}</h2>\n"));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        let text = self.shown(text);
        self.write(format_args!("<p>{text}</p>\n"));
    }

    /// Opens a table; title and names of columns are ours.
    pub(super) fn table(&mut self, title: &str, columns: &[&str]) {
        if !title.is_empty() {
            self.head(title);
        }
        let columns: String = columns.iter().map(|column| format!("<th>{column}</th>")).collect();
        self.write(format_args!("<table>\n<tr>{columns}</tr>\n"));
    }

    /// One row of texts from anywhere.
    pub(super) fn row(&mut self, cells: &[&str]) {
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", self.shown(cell))).collect();
        self.write(format_args!("<tr>{cells}</tr>\n"));
    }

    pub(super) fn end_table(&mut self) {
        self.raw("</table>\n");
    }

    /// Text as it may stand on the page: without secrets, within a bound, without meaning as markup.
    pub(super) fn shown(&self, text: &str) -> String {
        escaped(&bounded(&self.redactor.clean(text), MAX_FOREIGN_BYTES))
    }

    /// Markup of ours.
    pub(super) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    fn write(&mut self, markup: impl Display) {
        // Writing to a text cannot fail.
        let _ = write!(self.text, "{markup}");
    }
}

/// Text without meaning as markup.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn what_comes_from_outside_is_cleaned_cut_and_escaped() {
        let redactor = Redactor::new(vec![Secret::new("hunter2hunter2".into())]);
        let mut page = Page { text: String::new(), redactor: &redactor };
        page.row(&["<script>alert('x')</script>", "key hunter2hunter2", "\"&"]);
        page.head("<b>");
        assert!(
            !page.text.contains("<script") && !page.text.contains("hunter2") && !page.text.contains("<b>")
        );
        assert!(page.text.contains("&lt;script&gt;alert(&#39;x&#39;)") && page.text.contains("&quot;&amp;"));
        assert!(page.shown(&"x".repeat(5000)).len() <= MAX_FOREIGN_BYTES);
    }
}
