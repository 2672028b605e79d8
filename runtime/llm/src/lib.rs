//! Text in and out of language models: tokenizers, chat templates, the choice of tokens, stop sequences, sessions.
//!
//! The base runtime stays free of all this: only hosts that talk link it. The model itself is behind [`Model`].

/// Most entries of a vocabulary.
pub const MAX_TOKENS: usize = 1 << 22;

#[cfg(feature = "text")]
pub mod bundle;
mod error;
#[cfg(feature = "text")]
pub mod eval;
#[cfg(feature = "text")]
pub mod files;
pub mod gguf;
pub mod info;
#[cfg(feature = "text")]
pub mod model;
#[cfg(feature = "text")]
pub mod sample;
#[cfg(feature = "text")]
pub mod session;
#[cfg(feature = "text")]
pub mod stop;
#[cfg(feature = "text")]
pub mod template;
#[cfg(feature = "text")]
pub mod tokenizer;

pub use error::{Error, Kind, Result};
pub use info::LanguageModel;
#[cfg(feature = "text")]
pub use model::Model;
#[cfg(feature = "text")]
pub use sample::{Sampler, Settings};
#[cfg(feature = "text")]
pub use session::{Finish, Language, Options, Outcome, Session};
#[cfg(feature = "text")]
pub use template::{ChatTemplate, Context, Message};
#[cfg(feature = "text")]
pub use tokenizer::Tokenizer;
