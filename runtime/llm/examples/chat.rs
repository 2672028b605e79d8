//! Talks to a language model, line by line from standard input: `cargo run --example chat -- out/native`. With a text
//! behind the folder it goes on with that.

use sinter_llm::files::{Opening, open};
use sinter_llm::{Context, Message, Options, Settings};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("usage: chat BUNDLE [TEXT]")?;
    let mut session = open(Path::new(&folder), Opening::default())?;
    let settings = Settings::of(&session.language().info.generation);
    let mut options = Options { max_tokens: Some(64), settings, ..Options::default() };
    let show = |part: &str| {
        print!("{part}");
        if std::io::stdout().flush().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    if let Some(text) = arguments.next() {
        let tokens = session.tokens_of(&text)?;
        session.feed(&tokens)?;
        session.generate(&options, show)?;
        println!();
        return Ok(());
    }
    options.own_text = true;
    let context = Context { add_generation_prompt: true, ..Context::default() };
    let mut messages = vec![];
    for line in std::io::stdin().lines() {
        messages.push(Message::new("user", &line?));
        let tokens = session.tokens_of_chat(&messages, &context)?;
        session.become_tokens(&tokens)?;
        let mut answer = String::new();
        session.generate(&options, |part| {
            answer += part;
            show(part)
        })?;
        println!();
        messages.push(Message::new("assistant", &answer));
    }
    Ok(())
}
