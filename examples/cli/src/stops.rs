//! Stop strings: the text of an answer passes through until one of them is complete; what may still become one
//! is held back, so that no part of a stop string is ever printed.

/// Looks for stop strings in a stream of bytes.
pub(crate) struct Stops {
    strings: Vec<Vec<u8>>,
    held: Vec<u8>,
    hit: bool,
}

impl Stops {
    /// Watches for these; empty ones are ignored.
    pub(crate) fn new(strings: &[String]) -> Self {
        let strings = strings.iter().filter(|s| !s.is_empty()).map(|s| s.clone().into_bytes()).collect();
        Self { strings, held: Vec::new(), hit: false }
    }
    /// Whether a stop string was complete.
    pub(crate) fn hit(&self) -> bool {
        self.hit
    }
    /// Takes bytes, gives those that are certainly part of the text.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.hit {
            return Vec::new();
        }
        self.held.extend_from_slice(bytes);
        // The match that begins first ends the text.
        let first = self.strings.iter().filter_map(|s| find(&self.held, s)).min();
        if let Some(at) = first {
            self.hit = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.strings.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }
    /// The text is over: gives what was held back.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Where `needle` begins in `text`.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w == needle)
}

/// Length of the longest end of `text` that begins `stop`.
fn overlap(text: &[u8], stop: &[u8]) -> usize {
    (1..stop.len()).rev().find(|&n| text.ends_with(&stop[..n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = Stops::new(&stops.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let mut text = Vec::new();
        for piece in pieces {
            let shown = filter.push(piece.as_bytes());
            text.extend(shown);
        }
        let hit = filter.hit();
        text.extend(filter.finish());
        (String::from_utf8(text).expect("whole characters"), hit)
    }

    #[test]
    fn no_part_of_a_stop_string_passes() {
        assert_eq!(stream(&["END"], &["one E", "N", "D two"]), ("one ".into(), true));
        assert_eq!(stream(&["END"], &["one E", "N", "X two"]), ("one ENX two".into(), false));
        assert_eq!(stream(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(stream(&["\n\n", "User:"], &["hi\n", "Use", "r", ": x"]), ("hi\n".into(), true));
        assert_eq!(stream(&["bc", "abcd"], &["xabcd"]), ("x".into(), true));
        assert_eq!(stream(&[], &["all", " of it"]), ("all of it".into(), false));
        assert_eq!(stream(&[""], &["all"]), ("all".into(), false));
        assert_eq!(stream(&["é!"], &["caf", "é", "?"]), ("café?".into(), false));
    }

    #[test]
    fn what_cannot_be_a_stop_string_is_not_held() {
        let mut filter = Stops::new(&["STOP".into()]);
        assert_eq!(filter.push(b"go S"), b"go ");
        assert_eq!(filter.push(b"T"), b"");
        assert_eq!(filter.push(b"Ax"), b"STAx");
    }
}
