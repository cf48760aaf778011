//! A reader of JSON that keeps the order of members and the digits of numbers, since both are
//! part of the result that is compared. (`serde_json` does so only with features that would also
//! change the program where the workspace is built as a whole.)

use crate::run::Result;

/// A JSON value. Strings keep their escapes, all other scalars their text.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    String(String),
    Scalar(String),
}

impl Json {
    /// Parses one value and nothing behind it.
    ///
    /// # Errors
    /// The byte offset at which the text is no JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.skip_space();
        if reader.at == text.len() { Ok(value) } else { Err(reader.error("the end")) }
    }

    /// A member of an object.
    pub fn member(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// Text with one member or element a line, so that a line difference tells the place.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        self.write(0, &mut text);
        text.push('\n');
        text
    }

    fn write(&self, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth + 1);
        match self {
            Self::Scalar(scalar) => text.push_str(scalar),
            Self::String(string) => text.push_str(&format!("\"{string}\"")),
            Self::Object(members) => {
                text.push('{');
                for (i, (key, value)) in members.iter().enumerate() {
                    text.push_str(if i == 0 { "\n" } else { ",\n" });
                    text.push_str(&format!("{indent}\"{key}\": "));
                    value.write(depth + 1, text);
                }
                text.push_str(&format!("\n{}}}", "  ".repeat(depth)));
            }
            Self::Array(elements) => {
                text.push('[');
                for (i, element) in elements.iter().enumerate() {
                    text.push_str(if i == 0 { "\n" } else { ",\n" });
                    text.push_str(&indent);
                    element.write(depth + 1, text);
                }
                text.push_str(&format!("\n{}]", "  ".repeat(depth)));
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Json> {
        self.skip_space();
        match self.next() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Json::String(self.string()?)),
            _ => self.scalar(),
        }
    }

    fn object(&mut self) -> Result<Json> {
        let mut members = Vec::new();
        self.expect(b'{')?;
        self.skip_space();
        while self.next() != Some(b'}') {
            if !members.is_empty() {
                self.expect(b',')?;
                self.skip_space();
            }
            let key = self.string()?;
            self.skip_space();
            self.expect(b':')?;
            members.push((key, self.value()?));
            self.skip_space();
        }
        self.expect(b'}')?;
        Ok(Json::Object(members))
    }

    fn array(&mut self) -> Result<Json> {
        let mut elements = Vec::new();
        self.expect(b'[')?;
        self.skip_space();
        while self.next() != Some(b']') {
            if !elements.is_empty() {
                self.expect(b',')?;
            }
            elements.push(self.value()?);
            self.skip_space();
        }
        self.expect(b']')?;
        Ok(Json::Array(elements))
    }

    fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let start = self.at;
        while let Some(byte) = self.next() {
            match byte {
                b'"' => {
                    let content = self.text.get(start..self.at).unwrap_or_default().to_owned();
                    self.at += 1;
                    return Ok(content);
                }
                // The escaped character may be a quotation mark.
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        Err(self.error("a closing quotation mark"))
    }

    fn scalar(&mut self) -> Result<Json> {
        let start = self.at;
        while self.next().is_some_and(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
            self.at += 1;
        }
        let scalar = self.text.get(start..self.at).unwrap_or_default();
        let known = ["true", "false", "null"].contains(&scalar) || scalar.parse::<f64>().is_ok();
        if known { Ok(Json::Scalar(scalar.to_owned())) } else { Err(self.error("a value")) }
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(&format!("'{}'", char::from(byte))))
    }

    fn skip_space(&mut self) {
        while self.next().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, wanted: &str) -> String {
        format!("no JSON: {wanted} is missing at byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_digits_and_escapes_survive() {
        let text = r#" {"b": [1.0, -2e-7, null, [], {}], "a": "x\"\\", "ü": true} "#;
        let value = Json::parse(text).expect("JSON");
        assert_eq!(value.member("a"), Some(&Json::String(r#"x\"\\"#.to_owned())));
        let lines = value.to_lines();
        assert_eq!(Json::parse(&lines).expect("JSON"), value);
        assert!(
            lines.find("1.0") < lines.find("-2e-7") && lines.find("\"b\"") < lines.find("\"a\"")
        );
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for wrong in
            ["", "{", "[1", "[1 2]", "{\"a\" 1}", "\"x", "\"x\\", "{} 1", "hello", "{\"a\":}"]
        {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }
}
