//! Where templates notice that they do not run in Python: how values are printed, JSON, and a few methods.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, Output, State};
use std::fmt::Write;

/// Nesting of values that are printed.
const MAX_DEPTH: usize = 100;

/// `{{ value }}`.
pub(super) fn print(out: &mut Output, _: &mut State, value: &Value) -> Result<(), Error> {
    let mut text = String::new();
    match value.as_str() {
        Some(s) => text.push_str(s),
        None => repr(&mut text, value, 0)?,
    }
    out.write_str(&text).map_err(Error::from)
}

fn too_deep() -> Error {
    Error::new(ErrorKind::InvalidOperation, "a value is nested too deep")
}

/// What Python's `repr` gives.
fn repr(out: &mut String, v: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    match v.kind() {
        ValueKind::Undefined => {}
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if v.is_true() { "True" } else { "False" }),
        ValueKind::String => quoted(out, v.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (i, item) in v.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(out, &item, depth + 1)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (i, key) in v.try_iter()?.enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                repr(out, &key, depth + 1)?;
                out.push_str(": ");
                repr(out, &v.get_item(&key)?, depth + 1)?;
            }
            out.push('}');
        }
        _ => out.push_str(&v.to_string()),
    }
    Ok(())
}

/// A string literal of Python.
fn quoted(out: &mut String, s: &str) {
    let quote = if s.contains('\'') && !s.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in s.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

/// How JSON is laid out.
struct Style {
    indent: Option<usize>,
    item: String,
    key: String,
    ascii: bool,
    sort: bool,
}

/// The filter `tojson` with the arguments of `json.dumps`; unlike that of web frameworks it changes no letters.
pub(super) fn tojson(v: &Value, args: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = args.get("indent")?;
    let ascii: Option<bool> = args.get("ensure_ascii")?;
    let sort: Option<bool> = args.get("sort_keys")?;
    let separators: Option<Value> = args.get("separators")?;
    args.assert_all_used()?;
    let mut style = Style {
        indent: indent.map(|n| n.min(16)),
        item: if indent.is_some() { "," } else { ", " }.to_owned(),
        key: ": ".to_owned(),
        ascii: ascii.unwrap_or(false),
        sort: sort.unwrap_or(false),
    };
    if let Some(s) = separators.filter(|s| !s.is_none()) {
        let text = |i| s.get_item_by_index(i).map(|v| v.to_string());
        (style.item, style.key) = (text(0)?, text(1)?);
    }
    let mut out = String::new();
    json(&mut out, v, &style, 0)?;
    Ok(Value::from(out))
}

fn json(out: &mut String, v: &Value, s: &Style, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(too_deep());
    }
    let line = |out: &mut String, depth: usize| {
        if let Some(n) = s.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', n * depth));
        }
    };
    match v.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if v.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&v.to_string()),
        ValueKind::String => json_string(out, v.as_str().unwrap_or_default(), s.ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = v.try_iter()?.collect();
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { &s.item } else { "" });
                line(out, depth + 1);
                json(out, item, s, depth + 1)?;
            }
            if !items.is_empty() {
                line(out, depth);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = v.try_iter()?.collect();
            if s.sort {
                keys.sort();
            }
            out.push('{');
            for (i, key) in keys.iter().enumerate() {
                out.push_str(if i > 0 { &s.item } else { "" });
                line(out, depth + 1);
                json_string(out, &key.to_string(), s.ascii);
                out.push_str(&s.key);
                json(out, &v.get_item(key)?, s, depth + 1)?;
            }
            if !keys.is_empty() {
                line(out, depth);
            }
            out.push('}');
        }
        kind => {
            return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is no JSON")));
        }
    }
    Ok(())
}

fn json_string(out: &mut String, s: &str, ascii: bool) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 || ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Methods of Python's values.
pub(super) fn method(state: &mut State, v: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    minijinja_contrib::pycompat::unknown_method_callback(state, v, name, args).map_err(|e| match e.kind() {
        ErrorKind::UnknownMethod => {
            Error::new(ErrorKind::UnknownMethod, format!("{} has no method `{name}`", v.kind()))
        }
        _ => e,
    })
}
