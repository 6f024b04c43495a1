//! Choices of an input: bytes of it, one after the other, that make a text or a case.

/// What is left of an input; nothing but zeros when it is used up.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.next()) % bound
    }

    /// A number of two bytes.
    pub fn wide(&mut self) -> u64 {
        u64::from(self.next()) << 8 | u64::from(self.next())
    }

    pub fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    /// The lines of what is left, as texts; none when it is no UTF-8.
    pub fn lines(&self) -> Vec<&'a str> {
        std::str::from_utf8(self.0).map(|text| text.split('\n').collect()).unwrap_or_default()
    }
}
