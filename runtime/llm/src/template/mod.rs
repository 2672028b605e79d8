//! Chat templates: from messages to the text that a model was trained on. Templates are Jinja as the `transformers`
//! library runs it, so the small differences between Python and Rust are evened out here.

mod date;
mod python;

use crate::error::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value};
use minijinja::{AutoEscape, Environment, ErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Steps that a template may take.
const FUEL: u64 = 20_000_000;
/// Bytes of a template at most.
const MAX_BYTES: usize = 1 << 20;
const NAME: &str = "chat_template";

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// A message of a role.
    pub fn new(role: &str, content: &str) -> Self {
        Self { role: role.to_owned(), content: content.to_owned() }
    }
}

/// What a template may ask for besides the messages.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Whether the text ends where the assistant begins to speak.
    pub add_generation_prompt: bool,
    /// Seconds since 1970, for templates that tell the date; they fail without.
    pub now: Option<i64>,
    /// Further variables: special tokens, switches such as `enable_thinking`, tools.
    pub variables: BTreeMap<String, serde_json::Value>,
}

/// A chat template.
pub struct ChatTemplate {
    env: Environment<'static>,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").finish_non_exhaustive()
    }
}

/// What went wrong in a template, with its line.
fn explain(e: &minijinja::Error) -> Error {
    let what = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
    let line = e.line().map_or(String::new(), |l| format!(", line {l}"));
    match e.kind() {
        ErrorKind::OutOfFuel => Error::limit(format!("chat template{line}: runs for more than {FUEL} steps")),
        _ => Error::input(format!("chat template{line}: {what}")),
    }
}

/// As templates see it, through JSON: maps keep their order.
fn value<T: Serialize + ?Sized>(v: &T) -> Result<Value> {
    let bad = |e: serde_json::Error| Error::input(format!("messages and variables must be JSON: {e}"));
    serde_json::from_str(&serde_json::to_string(v).map_err(bad)?).map_err(bad)
}

impl ChatTemplate {
    /// Reads a template.
    pub fn new(source: &str) -> Result<Self> {
        if source.len() > MAX_BYTES {
            return Err(Error::limit(format!(
                "the chat template has {} bytes, at most {MAX_BYTES}",
                source.len()
            )));
        }
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|e| explain(&e))?);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_formatter(python::print);
        env.set_unknown_method_callback(python::method);
        env.set_fuel(Some(FUEL));
        env.add_filter("tojson", python::tojson);
        env.add_function("raise_exception", |why: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        env.add_function(
            "dict",
            |given: Option<Value>, more: Kwargs| -> std::result::Result<Value, minijinja::Error> {
                let mut all: BTreeMap<String, Value> = BTreeMap::new();
                if let Some(map) = given {
                    for key in map.try_iter()? {
                        all.insert(key.to_string(), map.get_item(&key)?);
                    }
                }
                for name in more.args() {
                    all.insert(name.to_owned(), more.get(name)?);
                }
                Ok(Value::from_pairs(all))
            },
        );
        env.add_template_owned(NAME, plain_blocks(source)).map_err(|e| explain(&e))?;
        Ok(Self { env })
    }
    /// The text of a chat. Messages are anything with a `role` and a `content`.
    pub fn render<M: Serialize>(&self, messages: &[M], context: &Context) -> Result<String> {
        let now = context.now;
        let strftime = move |format: String| match now {
            Some(now) => Ok(date::strftime(&format, now)),
            None => Err(minijinja::Error::new(ErrorKind::InvalidOperation, "the template asks for the date")),
        };
        let mut variables = Vec::with_capacity(context.variables.len());
        for (name, v) in &context.variables {
            variables.push((name.clone(), value(v)?));
        }
        let fixed = [
            ("messages".to_owned(), value(messages)?),
            ("add_generation_prompt".to_owned(), context.add_generation_prompt.into()),
            ("strftime_now".to_owned(), Value::from_function(strftime)),
        ];
        let defaults = [("tools".to_owned(), Value::from(())), ("documents".to_owned(), Value::from(()))];
        let all = Value::from_pairs(defaults.into_iter().chain(variables).chain(fixed));
        let template = self.env.get_template(NAME).map_err(|e| explain(&e))?;
        template.render(all).map_err(|e| explain(&e))
    }
}

/// Blocks that mark what the assistant said matter for training only.
fn plain_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let end = tag.find("%}").map_or(tag.len(), |e| e + 2);
        let (tag, tail) = tag.split_at(end);
        let word = tag.trim_start_matches(['{', '%', '-', '+']).trim_end_matches(['}', '%', '-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = tail;
    }
    out + rest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn render(source: &str) -> Result<String> {
        let messages = [Message::new("user", "hi")];
        ChatTemplate::new(source)?.render(&messages, &Context::default())
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(
            render("\n{{ raise_exception('only users') }}").unwrap_err().message,
            "chat template, line 2: only users"
        );
        assert!(render("{% if %}").unwrap_err().message.starts_with("chat template, line 1: "));
        assert!(render("{{ messages[0].role.nothing() }}").unwrap_err().message.contains("nothing"));
        assert!(render("{{ strftime_now('%Y') }}").unwrap_err().message.contains("date"));
        let long = "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}";
        assert_eq!(render(long).unwrap_err().kind, crate::Kind::Limit);
    }

    #[test]
    fn training_marks_are_plain() {
        let text = "a{%- generation -%} {{ messages[0].content }} {% endgeneration %}b{% if x == '{% generation %}' %}{% endif %}";
        // Not in the middle of another tag.
        assert_eq!(plain_blocks(text).matches("if true").count(), 1);
        assert_eq!(
            render("a{%- generation -%} {{ messages[0].content }} {%- endgeneration %} b").unwrap(),
            "ahi b"
        );
    }
}
