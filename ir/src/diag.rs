//! Diagnostics: every error says whose fault it is, where, and what to do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose fault a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The user's model, file, flag or data is wrong.
    Input,
    /// A valid request that Sinter does not support yet: ours to add.
    Unsupported,
    /// A stated limit (size, depth, count, range) was exceeded.
    Limit,
    /// Results could not be written.
    Output,
    /// A defect of Sinter itself.
    Bug,
}

/// One problem. `node` is the user's own layer name and op where there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Diag {
    /// Whose fault it is.
    pub fault: Fault,
    /// Name and op of the source node, e.g. `conv1 (Conv)`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<String>,
    /// Types of the node's operands, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub operands: Vec<String>,
    /// What is wrong, with the shapes, types or values concerned.
    pub message: String,
    /// What the user can do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

/// Result with one [`Diag`].
pub type Result<T, E = Diag> = std::result::Result<T, E>;

impl Diag {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, node: None, operands: Vec::new(), message: message.into(), help: None }
    }
    /// The user's model or data is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Fault::Input, message)
    }
    /// Valid, but not supported yet.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Fault::Unsupported, message)
    }
    /// A stated limit was exceeded.
    pub fn limit(message: impl Into<String>) -> Self {
        Self::new(Fault::Limit, message)
    }
    /// Results could not be written.
    pub fn output(message: impl Into<String>) -> Self {
        Self::new(Fault::Output, message)
    }
    /// A defect of Sinter.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Fault::Bug, message)
    }
    /// Adds the source node unless a more precise one is already there.
    pub fn at(mut self, node: impl Into<String>) -> Self {
        self.node.get_or_insert_with(|| node.into());
        self
    }
    /// Adds advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.fault {
            Fault::Input => "error in the input",
            Fault::Unsupported => "not supported yet",
            Fault::Limit => "limit exceeded",
            Fault::Output => "error in the output",
            Fault::Bug => "bug in sinter",
        };
        write!(f, "{kind}: ")?;
        if let Some(node) = &self.node {
            write!(f, "node {node}")?;
            if !self.operands.is_empty() {
                write!(f, " of {}", self.operands.join(", "))?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "\n  help: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diag {}
