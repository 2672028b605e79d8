//! `libsinter_llm_c`: the C interface of `sinter-llm` as a library. Its header is `runtime/llm/include/sinter_llm.h`.

pub use sinter_llm::c::*;
