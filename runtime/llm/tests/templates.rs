//! Chat templates against what the transformers library makes of them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod common;

use sinter_llm::gguf::Metadata;
use sinter_llm::template::{ChatTemplate, Context, Message};

/// Noon of the day that the stored texts were made on.
const NOW: i64 = 1_795_262_400;

#[test]
fn as_transformers_renders() {
    let cases = common::expected("templates.json");
    let cases = cases.as_array().unwrap();
    let mut errors = 0;
    for c in cases {
        let name = c["name"].as_str().unwrap();
        let template = ChatTemplate::new(c["source"].as_str().unwrap()).unwrap();
        let context = Context {
            add_generation_prompt: c["add_generation_prompt"].as_bool().unwrap(),
            now: Some(NOW),
            variables: serde_json::from_value(c["variables"].clone()).unwrap(),
        };
        let messages = c["messages"].as_array().unwrap();
        match (template.render(messages, &context), c["text"].as_str()) {
            (Ok(got), Some(want)) => assert_eq!(got, want, "{name}"),
            (Err(e), None) => {
                assert!(e.message.ends_with(c["error"].as_str().unwrap()), "{name}: {e}");
                errors += 1;
            }
            (got, want) => panic!("{name}: {got:?} instead of {want:?}"),
        }
    }
    assert!(cases.len() >= 15 && errors == 1);
}

#[test]
fn smollm2() {
    let Some(file) = common::smollm2() else { return };
    let template = ChatTemplate::new(&file.text("tokenizer.chat_template").unwrap()).unwrap();
    let context = Context { add_generation_prompt: true, ..Context::default() };
    let text = template.render(&[Message::new("user", "Hi")], &context).unwrap();
    let want = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
                <|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(text, want);
}
