//! HTML of the operator's page: sections, tables and texts, without scripts.
//!
//! Whatever comes from outside, and that is nearly all text on it, passes the redactor, is cut, and is escaped
//! here. A section has room for so much, and says how many rows had none, so that the page is small however much
//! there is to show. It cannot fail.

use std::fmt::Display;

use crate::crypto;
use crate::ops::redact::Redactor;
use crate::text::{bounded, head};

use super::query::View;

/// The one style sheet.
const STYLE: &str = include_str!("style.css");

/// Sections and tables: id, title, room in kB, the sentence in place of rows, caption, and columns, where `#` begins
/// that of a column of numbers.
const SECTIONS: &str = include_str!("sections.txt");

/// Longest text of a cell, and of a paragraph, as it is written.
const CELL_BYTES_MAX: usize = 200;
const PARAGRAPH_BYTES_MAX: usize = 1024;

/// Bytes that are cleaned for each that may be shown: a secret at the cut must be known whole.
const CLEANED_PER_SHOWN: usize = 8;

/// The style sheet, as a policy of content names it.
pub(super) fn style_source() -> String {
    format!("'sha256-{}'", crypto::sha256_base64(STYLE.as_bytes()))
}

/// HTML page that is being written.
pub(in crate::service) struct Page<'a> {
    pub(super) text: String,
    links: String,
    redactor: &'a Redactor,
    /// What its reader wants to see.
    pub(super) view: View,
}

/// Cell of a table: what it says, what else there is to it in small letters, and its class: `n` for numbers, or that
/// of a state.
pub(in crate::service) struct Cell(String, String, &'static str);

/// A cell that says this.
pub(in crate::service) fn cell(text: impl Display) -> Cell {
    Cell(text.to_string(), String::new(), "")
}

impl Cell {
    /// Adds what else there is to it.
    pub(in crate::service) fn more(self, more: impl Display) -> Cell {
        Cell(self.0, more.to_string(), self.2)
    }

    /// Gives it a class.
    pub(in crate::service) fn class(self, class: &'static str) -> Cell {
        Cell(self.0, self.1, class)
    }
}

/// A line of the sections.
fn spec(id: &str) -> impl Iterator<Item = &'static str> {
    let line = SECTIONS.lines().find(|line| line.split('|').next() == Some(id));
    line.unwrap_or_default().split('|').skip(1)
}

/// How many bytes a section may take.
pub(super) fn room(id: &str) -> usize {
    spec(id).nth(1).and_then(|room| room.parse().ok()).map_or(0, |room: usize| room * 1000)
}

impl<'a> Page<'a> {
    /// Nothing is on it yet.
    pub(super) fn new(redactor: &'a Redactor, view: View) -> Page<'a> {
        Page { text: String::with_capacity(64 * 1024), links: String::new(), redactor, view }
    }

    /// The whole page; title and top are of this page's own making.
    pub(super) fn whole(self, title: &str, top: &str) -> String {
        let Page { text, links, .. } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\
             <meta name=viewport content=\"width=device-width, initial-scale=1\">\
             <meta name=color-scheme content=\"light dark\"><style>{STYLE}</style></head><body>\n\
             <a class=skip href=\"#verdict\">Skip to the state</a>\n<header>{top}\
             <nav aria-label=Sections><ul>{links}</ul></nav></header>\n<main>\n{text}</section></main></body></html>\n"
        )
    }

    /// Begins a section, to which the navigation leads.
    pub(in crate::service) fn section(&mut self, id: &str) {
        let title = spec(id).next().unwrap_or_default();
        let end = if self.links.is_empty() { "" } else { "</section>\n" };
        self.links.push_str(&format!("<li><a href=\"#{id}\">{title}</a>"));
        self.raw(&format!("{end}<section id={id} aria-labelledby={id}-h><h2 id={id}-h>{title}</h2>\n"));
    }

    /// Writes a paragraph.
    pub(in crate::service) fn paragraph(&mut self, text: &str) {
        let text = self.shown(text, PARAGRAPH_BYTES_MAX);
        self.raw(&format!("<p>{text}</p>\n"));
    }

    /// Writes the sentence that stands in place of rows.
    pub(super) fn nothing(&mut self, id: &str) {
        self.paragraph(spec(id).nth(2).unwrap_or_default());
    }

    /// Writes a table. The first cell of a row says what that is about.
    pub(in crate::service) fn table(&mut self, id: &str, rows: impl IntoIterator<Item = Vec<Cell>>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return self.nothing(id);
        }
        let caption = spec(id).nth(3).unwrap_or_default();
        let columns: String = spec(id).skip(4).map(|column| format!("<th scope=col>{column}")).collect();
        let columns = columns.replace("col>#", "col class=n>");
        self.raw(&format!(
            "<div class=scroll tabindex=0 role=group aria-label=\"{caption}\"><table><caption>{caption}</caption>\
             <thead><tr>{columns}</thead><tbody>\n"
        ));
        self.fill(room(id), rows, |page, row| page.row(&row), "</tbody></table></div>\n");
    }

    /// Writes what there is room for, then the end, and how many more there are.
    pub(super) fn fill<T>(
        &mut self,
        room: usize,
        all: impl IntoIterator<Item = T>,
        write: impl Fn(&mut Self, T),
        end: &str,
    ) {
        let (limit, mut left_out, mut all) = (self.text.len() + room, 0, all.into_iter());
        while let Some(one) = all.next() {
            let start = self.text.len();
            write(self, one);
            if self.text.len() > limit {
                self.text.truncate(start);
                // There may be ten thousand, which are not made to be counted.
                let (least, most) = all.size_hint();
                left_out = 1 + if most == Some(least) { least } else { all.by_ref().count() };
                break;
            }
        }
        self.raw(end);
        if left_out > 0 {
            self.paragraph(&format!("{left_out} more are not shown here."));
        }
    }

    fn row(&mut self, cells: &[Cell]) {
        self.raw("<tr>");
        for (at, Cell(text, more, class)) in cells.iter().enumerate() {
            let [text, more] = [text, more].map(|text| self.shown(text, CELL_BYTES_MAX));
            let text = match *class {
                "" | "n" => text,
                state => format!("<b class={state}>{text}</b>"),
            };
            let more = if more.is_empty() { more } else { format!("<small>{more}</small>") };
            let tag = if at == 0 { "th scope=row" } else { "td" };
            let class = if *class == "n" { " class=n" } else { "" };
            self.raw(&format!("<{tag}{class}>{text}{more}"));
        }
        self.raw("\n");
    }

    /// Writes names with what belongs to them.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        let facts = facts.iter().filter(|(_, value)| !value.is_empty());
        let fact = |(name, value): &(&str, String)| {
            format!("<div><dt>{name}<dd>{}</div>", self.shown(value, CELL_BYTES_MAX))
        };
        let facts: String = facts.map(fact).collect();
        self.raw(&format!("<dl>{facts}</dl>\n"));
    }

    /// Text as it may stand on the page: without secrets, within a bound, without meaning as markup.
    pub(super) fn shown(&self, text: &str, limit: usize) -> String {
        let clean = self.redactor.clean(head(text, limit.saturating_mul(CLEANED_PER_SHOWN)));
        escaped(&bounded(&clean, limit), limit)
    }

    /// Adds markup of ours, with what was `shown`.
    pub(super) fn raw(&mut self, markup: &str) {
        self.text.push_str(markup);
    }
}

/// Text without meaning as markup, of which so many bytes may be written.
pub(super) fn escaped(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let start = out.len();
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
        if out.len() > limit {
            out.truncate(start);
            out.push('…');
            break;
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
        let mut page = Page::new(&redactor, View::default());
        page.table(
            "tools",
            [vec![cell("<script>alert('x')</script>"), cell("key hunter2hunter2").more("\"&<i>")]],
        );
        page.paragraph("<em> hunter2hunter2");
        page.facts(&[("x", "<u>hunter2hunter2".to_owned())]);
        for text in ["<script", "hunter2", "<em>", "<i>", "<u>"] {
            assert!(!page.text.contains(text), "{text}: {}", page.text);
        }
        assert!(page.text.contains("&lt;script&gt;alert(&#39;x&#39;)") && page.text.contains("&quot;&amp;"));
        for text in ["x", "<", "é", "&"] {
            let shown = page.shown(&text.repeat(5000), CELL_BYTES_MAX);
            assert!((150..=CELL_BYTES_MAX + 3).contains(&shown.len()), "{text}: {shown}");
        }
        // The cut goes through no secret.
        let shown = page.shown(&format!("{}hunter2hunter2", "x".repeat(CELL_BYTES_MAX - 4)), CELL_BYTES_MAX);
        assert!(!shown.contains("hunt"), "{shown}");
    }

    #[test]
    fn a_table_keeps_to_its_room() {
        let redactor = Redactor::new(Vec::new());
        let mut page = Page::new(&redactor, View::default());
        page.table("tools", (0..1000).map(|at| vec![cell(format!("row {at}"))]));
        assert!((2900..3600).contains(&page.text.len()), "{}", page.text.len());
        assert!(page.text.contains("row 50") && !page.text.contains("row 999"));
        assert!(page.text.contains(" more are not shown here.") && page.text.contains("</table>"));
        let mut page = Page::new(&redactor, View::default());
        page.table("tools", []);
        assert_eq!(page.text, "<p>No tool has been accepted.</p>\n");
    }

    /// With the style sheet and the pictures, which do not grow, all of it stays under 100 KB.
    #[test]
    fn all_rooms_together_are_small() {
        let rooms: usize = SECTIONS.lines().map(|line| room(line.split('|').next().unwrap())).sum();
        assert!(rooms + STYLE.len() + 8_000 < 100_000, "{rooms} {}", STYLE.len());
        for line in SECTIONS.lines() {
            assert!(line.split('|').count() >= 3 && room(line.split('|').next().unwrap()) > 0, "{line}");
        }
    }
}
