//! A strict reader of JSON as RFC 8259 has it, written for the oracles: a tree in which everything has its place.
//!
//! Escapes may name halves of surrogate pairs, which the grammar allows; such a string has no text.

use std::ops::Range;

/// Nesting that is followed; beyond it there is no verdict.
const DEPTH_MAX: usize = 500;

/// A value and the bytes that it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    pub at: Range<usize>,
    pub is: Is,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Is {
    Null,
    Bool(bool),
    Number,
    /// Its code units, in UTF-16: halves of pairs included.
    Text(Vec<u16>),
    List(Vec<Value>),
    /// Names and values in their order.
    Object(Vec<(Name, Value)>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    pub at: Range<usize>,
    pub units: Vec<u16>,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    /// The text is not JSON.
    Json,
    /// The text is too deep for a verdict.
    Verdict,
}

/// The text of a string, if it has one.
pub fn text(units: &[u16]) -> Option<String> {
    String::from_utf16(units).ok()
}

impl Value {
    /// The members of an object.
    pub fn members(&self) -> &[(Name, Value)] {
        match &self.is {
            Is::Object(members) => members,
            _ => &[],
        }
    }

    /// The only member of this name.
    pub fn only(&self, name: &str) -> Option<&Value> {
        let mut named = self.members().iter().filter(|(own, _)| text(&own.units).as_deref() == Some(name));
        let first = named.next()?;
        named.next().is_none().then_some(&first.1)
    }

    /// The text of a string.
    pub fn text(&self) -> Option<String> {
        match &self.is {
            Is::Text(units) => text(units),
            _ => None,
        }
    }

    /// How deep lists and objects go.
    pub fn depth(&self) -> usize {
        match &self.is {
            Is::List(items) => 1 + items.iter().map(Value::depth).max().unwrap_or_default(),
            Is::Object(members) => 1 + members.iter().map(|(_, one)| one.depth()).max().unwrap_or_default(),
            _ => 0,
        }
    }

    /// The same value wherever it stands: places left out, numbers as they are spelt.
    pub fn same(&self, text: &[u8], other: &Value, other_text: &[u8]) -> bool {
        match (&self.is, &other.is) {
            (Is::Number, Is::Number) => text[self.at.clone()] == other_text[other.at.clone()],
            (Is::List(left), Is::List(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| left.same(text, right, other_text))
            }
            (Is::Object(left), Is::Object(right)) => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|((name, left), (other, right))| {
                        name.units == other.units && left.same(text, right, other_text)
                    })
            }
            (left, right) => left == right,
        }
    }
}

/// The one value of a text.
pub fn read(bytes: &[u8]) -> Result<Value, No> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    reader.blanks();
    let value = reader.value()?;
    reader.blanks();
    if reader.at == bytes.len() { Ok(value) } else { Err(No::Json) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), No> {
        if self.peek() != Some(byte) {
            return Err(No::Json);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self) -> Result<Value, No> {
        let start = self.at;
        let is = match self.peek().ok_or(No::Json)? {
            b'n' => self.word(b"null", Is::Null)?,
            b't' => self.word(b"true", Is::Bool(true))?,
            b'f' => self.word(b"false", Is::Bool(false))?,
            b'"' => Is::Text(self.string()?),
            b'[' => Is::List(self.nested(b'[', b']', Reader::value)?),
            b'{' => Is::Object(self.nested(b'{', b'}', Reader::member)?),
            _ => self.number()?,
        };
        Ok(Value { at: start..self.at, is })
    }

    fn word(&mut self, word: &[u8], is: Is) -> Result<Is, No> {
        for byte in word {
            self.take(*byte)?;
        }
        Ok(is)
    }

    fn nested<T>(&mut self, open: u8, close: u8, item: fn(&mut Self) -> Result<T, No>) -> Result<Vec<T>, No> {
        self.take(open)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(No::Verdict);
        }
        let mut items = Vec::new();
        self.blanks();
        while self.peek() != Some(close) {
            if !items.is_empty() {
                self.take(b',')?;
                self.blanks();
            }
            items.push(item(self)?);
            self.blanks();
        }
        self.depth -= 1;
        self.take(close).map(|()| items)
    }

    fn member(&mut self) -> Result<(Name, Value), No> {
        let start = self.at;
        let units = self.string()?;
        let name = Name { at: start..self.at, units };
        self.blanks();
        self.take(b':')?;
        self.blanks();
        Ok((name, self.value()?))
    }

    fn string(&mut self) -> Result<Vec<u16>, No> {
        self.take(b'"')?;
        let mut units = Vec::new();
        loop {
            let start = self.at;
            while !matches!(self.peek().ok_or(No::Json)?, b'"' | b'\\' | 0..=31) {
                self.at += 1;
            }
            let plain = std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| No::Json)?;
            units.extend(plain.encode_utf16());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => units.push(self.escape()?),
                _ => return Err(No::Json),
            }
        }
        self.take(b'"').map(|()| units)
    }

    fn escape(&mut self) -> Result<u16, No> {
        self.take(b'\\')?;
        let letter = self.peek().ok_or(No::Json)?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => u16::from(letter),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4).ok_or(No::Json)?;
                self.at += 4;
                let digit = |sum: u16, byte: &u8| Some(sum * 16 + (*byte as char).to_digit(16)? as u16);
                digits.iter().try_fold(0, digit).ok_or(No::Json)?
            }
            _ => return Err(No::Json),
        })
    }

    fn digits(&mut self) -> Result<(), No> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(No::Json) }
    }

    fn number(&mut self) -> Result<Is, No> {
        let _ = self.take(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.take(b'.').is_ok() {
            self.digits()?;
        }
        if self.take(b'e').or_else(|_| self.take(b'E')).is_ok() {
            let _ = self.take(b'+').or_else(|_| self.take(b'-'));
            self.digits()?;
        }
        Ok(Is::Number)
    }
}
