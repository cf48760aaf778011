//! JSON values as YAML in block style (<https://yaml.org/spec/1.2.2/>), for people to read. Texts
//! are JSON's, which are YAML's double-quoted ones.

use serde_json::Value;

/// Lines of an object, each ended.
pub(super) fn to_yaml(value: &Value) -> String {
    let mut text = String::new();
    push_lines(&mut text, value, 0);
    text
}

fn push_lines(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) => {
            for (index, (name, field)) in fields.iter().enumerate() {
                // The first field of an item stands behind its dash.
                if index > 0 || !text.ends_with("- ") {
                    indent(text, depth);
                }
                *text += name;
                text.push(':');
                push_value(text, field, depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                indent(text, depth);
                text.push('-');
                if is_block(item) && item.is_object() {
                    text.push(' ');
                    push_lines(text, item, depth + 1);
                } else {
                    push_value(text, item, depth + 1);
                }
            }
        }
        scalar => *text += &scalar.to_string(),
    }
}

/// What follows a name or a dash, and the end of its line.
fn push_value(text: &mut String, value: &Value, depth: usize) {
    if is_block(value) {
        text.push('\n');
        push_lines(text, value, depth);
    } else {
        *text += &format!(" {value}\n");
    }
}

/// Whether a value takes lines of its own; empty ones are `{}` and `[]`.
fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn indent(text: &mut String, depth: usize) {
    *text += &"  ".repeat(depth);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_and_lists_are_blocks() {
        let value = json!({
            "a": [{ "b": 1, "c": ["x: y", []] }, "d"],
            "e": { "f": { "g": null } },
            "h": [[1, 2]],
        });
        let want = "a:\n  - b: 1\n    c:\n      - \"x: y\"\n      - []\n  - \"d\"\ne:\n  f:\n    \
                    g: null\nh:\n  -\n    - 1\n    - 2\n";
        assert_eq!(to_yaml(&value), want);
    }
}
