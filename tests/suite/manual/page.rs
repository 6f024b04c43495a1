//! Reads mdoc, as far as the pages use it: headings, items, and the words of macros.
//!
//! A page is taken from the tree as it is shipped. Nothing is rendered: what a reader sees is checked by
//! `tests/packaging/man.sh`.

use std::path::Path;

/// The pages, by their files.
pub const PAGES: [&str; 4] =
    ["tunnel-client.1", "tunnel-client.yaml.5", "tunnel-client.8", "tunnel-clientd.8"];

/// Macros whose words are told apart; whatever else begins a line ends the one before.
const MACROS: [&str; 27] = [
    "Ar", "Bl", "Cm", "Dq", "Dv", "El", "Em", "Ev", "Fl", "It", "Nm", "No", "Ns", "Oc", "Oo", "Op", "Pa",
    "Pc", "Po", "Pp", "Pq", "Ql", "Sx", "Sy", "Ta", "Va", "Xr",
];

/// A page, or a part of one.
#[derive(Clone, Copy)]
pub struct Part<'p>(pub &'p str);

/// An item of a list: its head line without `.It`, and everything up to the next one.
pub struct Item<'p> {
    /// The line.
    pub head: &'p str,
    /// Head and body.
    pub part: Part<'p>,
}

/// The source of a page.
pub fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl<'p> Part<'p> {
    /// What stands under a heading, up to the next one of its kind or of a higher one.
    pub fn under(self, heading: &str) -> Part<'p> {
        let line = format!("{heading}\n");
        let mut starts = self.0.match_indices(&line).map(|(at, _)| self.0.split_at(at));
        let found = starts.find(|(before, _)| before.is_empty() || before.ends_with('\n'));
        let (_, rest) = found.unwrap_or_else(|| panic!("no heading {heading:?}"));
        let rest = rest.strip_prefix(&line).unwrap();
        let mut ends = vec![rest.find("\n.Sh ")];
        if heading.starts_with(".Ss") {
            ends.push(rest.find("\n.Ss "));
        }
        // With the line ending of its last line.
        let end = ends.into_iter().flatten().min().map_or(rest.len(), |end| end + 1);
        Part(rest.split_at(end).0)
    }

    /// The headings of a kind, such as `.Ss`, without it.
    pub fn headings(self, kind: &str) -> Vec<&'p str> {
        self.0.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')).collect()
    }

    /// All items.
    pub fn items(self) -> Vec<Item<'p>> {
        let mut pieces = self.0.split("\n.It ");
        pieces.next();
        let item = |piece: &'p str| {
            let end = ["\n.El\n", "\n.Sh ", "\n.Ss "].into_iter().filter_map(|end| piece.find(end)).min();
            let (whole, _) = piece.split_at(end.unwrap_or(piece.len()));
            Item { head: whole.lines().next().unwrap_or_default(), part: Part(whole) }
        };
        pieces.map(item).collect()
    }

    /// The words of a macro, without punctuation.
    pub fn words(self, wanted: &str) -> Vec<&'p str> {
        let mut found = Vec::new();
        for line in self.0.lines() {
            let mut current = "";
            // The head of an item has lost its macro.
            let line = line.strip_prefix('.').or_else(|| self.0.starts_with(line).then_some(line));
            for word in line.unwrap_or_default().split(' ') {
                if MACROS.contains(&word) {
                    current = word;
                } else if current == wanted && !is_punctuation(word) {
                    found.push(word);
                }
            }
        }
        found
    }

    /// What a reader sees, with a space between all words: `default 20 ; NAME ; --flag .`
    pub fn plain(self) -> String {
        let mut text = String::new();
        for (at, line) in self.0.lines().enumerate() {
            let line = match line.strip_prefix('.') {
                Some(comment) if comment.starts_with("\\\"") => continue,
                Some(macros) => macros,
                None if at == 0 => line,
                None => {
                    text.push_str(line);
                    text.push(' ');
                    continue;
                }
            };
            let words = line.split(' ').filter(|word| !MACROS.contains(word));
            words.for_each(|word| text.push_str(&format!("{word} ")));
        }
        text
    }

    /// The literal blocks, each with the kind that the comment before it gives.
    pub fn examples(self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut before = "";
        let mut lines = self.0.lines();
        while let Some(line) = lines.next() {
            if line.starts_with(".Bd -literal") {
                let kind = before.strip_prefix(".\\\" example: ").unwrap_or_default();
                let block = lines.by_ref().take_while(|line| *line != ".Ed");
                let block: String = block.map(|line| unescaped(line) + "\n").collect();
                found.push((kind.to_owned(), block));
            }
            before = line;
        }
        found
    }
}

fn is_punctuation(word: &str) -> bool {
    word.chars().all(|c| ",.;:()|".contains(c)) || word == "..."
}

/// A line of a block as it is printed.
fn unescaped(line: &str) -> String {
    line.replace("\\e", "\\").replace("\\&", "").replace("\\-", "-")
}
