//! Text in and out of language models: tokenizers, chat templates, the choice of tokens, stop sequences, sessions.
//!
//! The base runtime stays free of all this: only hosts that talk link it. The model itself is behind [`Model`].

pub mod bundle;
pub mod c;
mod error;
pub mod eval;
pub mod files;
pub mod gguf;
pub mod info;
pub mod model;
pub mod sample;
pub mod session;
pub mod stop;
pub mod template;
pub mod tokenizer;

pub use error::{Error, Kind, Result};
pub use info::LanguageModel;
pub use model::Model;
pub use sample::{Sampler, Settings};
pub use session::{Finish, Language, Options, Outcome, Session};
pub use template::{ChatTemplate, Context, Message};
pub use tokenizer::Tokenizer;

/// Most entries of a vocabulary.
pub const MAX_TOKENS: usize = 1 << 22;
