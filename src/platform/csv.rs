//! Tables as text (RFC 4180): fields with quotes where they need them.

use std::io::BufRead;

use crate::error::{Error, Result};

/// In front of UTF-8 text by some programs.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Longest record, bytes: a table without line ends is no table.
const MAX_RECORD_BYTES: usize = 10_000_000;

/// Reads a table record by record; memory does not grow with its length.
#[derive(Debug)]
pub struct CsvReader<R> {
    source: R,
    separator: u8,
    line: Vec<u8>,
}

/// The fields of a record, without the quotes that they have in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsvRecord {
    text: String,
    /// Where each field ends in `text`.
    ends: Vec<usize>,
}

impl CsvRecord {
    /// A field; empty where the record is shorter.
    #[must_use]
    pub fn field(&self, index: usize) -> &str {
        let from = match index {
            0 => 0,
            later => self.ends.get(later - 1).copied().unwrap_or(self.text.len()),
        };
        let end = self.ends.get(index).copied().unwrap_or(from);
        self.text.get(from..end).unwrap_or_default()
    }

    /// All fields.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.field(index))
    }
}

impl<R: BufRead> CsvReader<R> {
    /// Of a table whose fields have this ASCII character between them.
    pub fn new(source: R, separator: u8) -> Self {
        Self { source, separator, line: Vec::new() }
    }

    /// Reads the next record into `record`; false at the end. Empty lines are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Malformed`] for a quote that does not end and
    /// for text that is not UTF-8; [`Error::Limit`] for a record without end.
    pub fn next_record(&mut self, record: &mut CsvRecord) -> Result<bool> {
        loop {
            self.line.clear();
            if !self.read_line()? {
                return Ok(false);
            }
            if self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            // A field in quotes may hold line ends.
            let mut counted = 0;
            let mut is_open = false;
            loop {
                is_open ^= has_odd_quotes(&self.line[counted..]);
                if !is_open {
                    break;
                }
                counted = self.line.len();
                if !self.read_line()? {
                    return Err(Error::malformed("A quote in the table does not end"));
                }
            }
            while self.line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
                self.line.pop();
            }
            if !self.line.is_empty() {
                self.split(record)?;
                return Ok(true);
            }
        }
    }

    /// Appends a line with its end; false where there is none.
    fn read_line(&mut self) -> Result<bool> {
        let room = (MAX_RECORD_BYTES - self.line.len().min(MAX_RECORD_BYTES)) as u64;
        let mut limited = std::io::Read::take(&mut self.source, room);
        let read = limited
            .read_until(b'\n', &mut self.line)
            .map_err(|e| Error::io("The table cannot be read", e))?;
        if self.line.len() >= MAX_RECORD_BYTES {
            return Err(Error::limit("A line of the table is too long"));
        }
        Ok(read > 0)
    }

    /// Cuts the line into fields.
    fn split(&self, record: &mut CsvRecord) -> Result<()> {
        let not_utf8 =
            |e: std::str::Utf8Error| Error::malformed("The table is not UTF-8 text").caused_by(e);
        record.text.clear();
        record.ends.clear();
        let mut rest = self.line.as_slice();
        loop {
            let is_quoted = rest.first() == Some(&b'"');
            if is_quoted {
                rest = &rest[1..];
                while let Some(at) = rest.iter().position(|&byte| byte == b'"') {
                    record.text.push_str(std::str::from_utf8(&rest[..at]).map_err(not_utf8)?);
                    rest = &rest[at + 1..];
                    if rest.first() != Some(&b'"') {
                        break;
                    }
                    // Two quotes stand for one.
                    record.text.push('"');
                    rest = &rest[1..];
                }
            }
            let end = rest.iter().position(|&byte| byte == self.separator);
            let field = &rest[..end.unwrap_or(rest.len())];
            record.text.push_str(std::str::from_utf8(field).map_err(not_utf8)?);
            record.ends.push(record.text.len());
            match end {
                Some(at) => rest = &rest[at + 1..],
                None => return Ok(()),
            }
        }
    }
}

/// First characters by which a spreadsheet takes a text for a formula.
const FORMULA_STARTS: [char; 5] = ['=', '+', '-', '@', '\t'];

/// A text of other people as a field of a table with commas: what a spreadsheet would take for a
/// formula gets an apostrophe.
#[must_use]
pub fn csv_text(text: &str) -> String {
    if text.starts_with(FORMULA_STARTS) { csv_field(&format!("'{text}")) } else { csv_field(text) }
}

/// The text of a field that [`csv_text`] wrote.
#[must_use]
pub fn without_apostrophe(field: &str) -> &str {
    field.strip_prefix('\'').filter(|text| text.starts_with(FORMULA_STARTS)).unwrap_or(field)
}

/// A text as a field of a table with commas (RFC 4180).
#[must_use]
pub fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}

fn has_odd_quotes(text: &[u8]) -> bool {
    text.iter().fold(false, |is_odd, byte| is_odd ^ (*byte == b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, separator: u8) -> Result<Vec<Vec<String>>> {
        let mut reader = CsvReader::new(text.as_bytes(), separator);
        let (mut all, mut record) = (Vec::new(), CsvRecord::default());
        while reader.next_record(&mut record)? {
            all.push(record.fields().map(str::to_owned).collect());
        }
        Ok(all)
    }

    #[test]
    fn fields_come_back_as_they_were_written() {
        let fields = ["plain", "", "a, b", "say \"hi\"", "two\nlines", "ü"];
        let line: Vec<String> = fields.iter().map(|field| csv_field(field)).collect();
        let text = format!("{}\r\n\n1,2\n", line.join(","));
        let read = records(&text, b',').expect("records");
        assert_eq!(read, [fields.map(str::to_owned).to_vec(), vec!["1".into(), "2".into()]]);
        assert_eq!(records("a;b\n;\n", b';').expect("records")[1], ["", ""]);
        assert_eq!(records("", b',').expect("records"), Vec::<Vec<String>>::new());
        let record = CsvRecord { text: "ab".into(), ends: vec![1, 2] };
        assert_eq!([0, 1, 2, 7].map(|i| record.field(i)), ["a", "b", "", ""]);
    }

    #[test]
    fn formulas_become_text_and_come_back() {
        for (text, field) in [("=1+1", "'=1+1"), ("-a,b", "\"'-a,b\""), ("'quoted", "'quoted")] {
            assert_eq!(csv_text(text), field);
            let read = records(&format!("{field}\n"), b',').expect("records");
            assert_eq!(without_apostrophe(&read[0][0]), text);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_field() {
        assert_eq!(
            records("\u{FEFF}\"slide\",\"mpp\"\n", b',').expect("records"),
            [["slide", "mpp"]]
        );
    }

    #[test]
    fn a_quote_without_end_and_other_bytes_are_refused() {
        assert!(records("a,\"b\nc\n", b',').is_err());
        let mut reader = CsvReader::new(&b"a,\xFF\n"[..], b',');
        assert!(reader.next_record(&mut CsvRecord::default()).is_err());
    }
}
