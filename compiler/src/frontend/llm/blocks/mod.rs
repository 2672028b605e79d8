//! What layers are made of. Architectures describe with these types; [`super::decoder`] puts them together.

pub mod attention;
pub mod cache;
pub mod experts;
pub mod latent;
pub mod mamba;
pub mod mamba2;
pub mod mlp;
pub mod norm;
pub mod rope;
