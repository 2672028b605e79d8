//! The functions, and their description.

use super::*;

/// A function as the header shows it.
pub(super) struct Function {
    pub name: &'static str,
    pub result: &'static str,
    pub arguments: &'static str,
    pub doc: &'static str,
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])* $c:literal fn $name:ident($($arg:ident: $ty:ty),*) -> $result:ty $body:block)*) => {
        $(
            $(#[doc = $doc])*
            ///
            /// # Safety
            /// Pointers are what the header says, and no other thread uses the session.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $ty),*) -> $result $body
        )*
        /// All functions, in the order of the header.
        pub(super) const FUNCTIONS: &[Function] = &[
            $(Function { name: stringify!($name), result: stringify!($result), arguments: $c, doc: concat!($($doc, "\n"),*) }),*
        ];
    };
}

functions! {
    /// Opens a bundle folder. threads: 0 and 1 are the caller's alone. capacity: tokens that the cache has room for;
    /// 0: what the model was trained for, at most 4096. On an error *out is NULL and error gets its text.
    "const char *folder, uint32_t threads, uint64_t capacity, sinter_llm **out, char *error, uint64_t error_size"
    fn sinter_llm_open(folder: *const c_char, threads: u32, capacity: u64, out: *mut *mut SinterLlm, error: *mut c_char, error_size: u64) -> i32 {
        // SAFETY: as the header says.
        unsafe {
            make(out, error, error_size, || {
                let folder = text(folder, "folder")?;
                let capacity = usize::try_from(capacity).ok().filter(|c| *c > 0);
                files::open(Path::new(folder), Opening { threads: threads as usize, capacity })
            })
        }
    }
    /// The same for a bundle whose archive is linked into the program: nothing is loaded as code.
    "const char *folder, const sinter_llm_functions *functions, uint32_t threads, uint64_t capacity, sinter_llm **out, char *error, uint64_t error_size"
    fn sinter_llm_open_linked(folder: *const c_char, functions: *const linked::Functions, threads: u32, capacity: u64, out: *mut *mut SinterLlm, error: *mut c_char, error_size: u64) -> i32 {
        // SAFETY: as the header says.
        unsafe {
            make(out, error, error_size, || {
                let folder = text(folder, "folder")?;
                let capacity = usize::try_from(capacity).ok().filter(|c| *c > 0);
                linked::open(Path::new(folder), functions, Opening { threads: threads as usize, capacity })
            })
        }
    }
    /// Ends a session; NULL is one that has ended.
    "sinter_llm *llm"
    fn sinter_llm_close(llm: *mut SinterLlm) -> () {
        if !llm.is_null() {
            // SAFETY: made by an open function, ended once.
            drop(unsafe { Box::from_raw(llm) });
        }
    }
    /// Text of the last error of this session, until its next call.
    "const sinter_llm *llm"
    fn sinter_llm_error(llm: *const SinterLlm) -> *const c_char {
        // SAFETY: as the header says.
        unsafe { llm.as_ref() }.map_or(c"the session is NULL".as_ptr(), |s| s.error.as_ptr().cast())
    }
    /// Forgets everything that was said.
    "sinter_llm *llm"
    fn sinter_llm_reset(llm: *mut SinterLlm) -> i32 {
        // SAFETY: as the header says.
        unsafe { on(llm, |s| { s.messages.clear(); s.session.reset().map(|()| 0) }) }
    }
    /// Lets the model read a text behind everything so far; the first one begins as the model's texts begin.
    "sinter_llm *llm, const char *prompt"
    fn sinter_llm_feed(llm: *mut SinterLlm, prompt: *const c_char) -> i32 {
        // SAFETY: as the header says.
        unsafe {
            on(llm, |s| {
                let prompt = text(prompt, "prompt")?;
                let tokens = if s.session.history().is_empty() {
                    s.session.tokens_of(prompt)?
                } else {
                    s.session.language().tokenizer.encode(prompt, false)?
                };
                s.session.feed(&tokens).map(|()| 0)
            })
        }
    }
    /// Goes on behind what was read, and shows the text piece by piece. Gives why it ended: a SINTER_LLM_* reason.
    /// options may be NULL.
    "sinter_llm *llm, const sinter_llm_options *options, sinter_llm_show show, void *user"
    fn sinter_llm_generate(llm: *mut SinterLlm, options: *const SinterLlmOptions, show: Option<Show>, user: *mut c_void) -> i32 {
        // SAFETY: as the header says.
        unsafe { on(llm, |s| { let o = super::options(s, options)?; answer(s, &o, show, user) }) }
    }
    /// Answers a message of a chat: `role` is "user", or "system" in front of the first one, which is only noted.
    /// now: seconds since 1970, for models that are told the date; 0 where it is not known.
    "sinter_llm *llm, const char *role, const char *content, int64_t now, const sinter_llm_options *options, sinter_llm_show show, void *user"
    fn sinter_llm_chat(llm: *mut SinterLlm, role: *const c_char, content: *const c_char, now: i64, options: *const SinterLlmOptions, show: Option<Show>, user: *mut c_void) -> i32 {
        // SAFETY: as the header says.
        unsafe {
            on(llm, |s| {
                let role = text(role, "role")?;
                let message = Message::new(role, text(content, "content")?);
                if role == "system" {
                    s.messages.push(message);
                    return Ok(0);
                }
                let o = Options { own_text: true, ..super::options(s, options)? };
                s.messages.push(message);
                let context = Context { add_generation_prompt: true, now: Some(now).filter(|n| *n != 0), ..Context::default() };
                let read = s.session.tokens_of_chat(&s.messages, &context);
                let read = read.and_then(|t| s.session.become_tokens(&t).map(drop));
                if read.is_err() {
                    // A message that was not read was not said.
                    s.messages.pop();
                }
                read?;
                answer(s, &o, show, user)
            })
        }
    }
    /// Tokens that the model has read.
    "const sinter_llm *llm"
    fn sinter_llm_position(llm: *const SinterLlm) -> u64 {
        // SAFETY: as the header says.
        unsafe { llm.as_ref() }.map_or(0, |s| s.session.history().len() as u64)
    }
    /// Tokens that the cache has room for.
    "const sinter_llm *llm"
    fn sinter_llm_capacity(llm: *const SinterLlm) -> u64 {
        use crate::model::Model;
        // SAFETY: as the header says.
        unsafe { llm.as_ref() }.map_or(0, |s| s.session.model().capacity() as u64)
    }
    /// Saves what the model remembers, to go on later with the same bundle and capacity. Chats save the tokens, not the
    /// messages: go on with sinter_llm_feed, or repeat the messages.
    "sinter_llm *llm, const char *file"
    fn sinter_llm_save(llm: *mut SinterLlm, file: *const c_char) -> i32 {
        // SAFETY: as the header says.
        unsafe { on(llm, |s| s.session.save_file(Path::new(text(file, "file")?)).map(|()| 0)) }
    }
    /// Takes back what was saved. On an error the session stays as it was.
    "sinter_llm *llm, const char *file"
    fn sinter_llm_load(llm: *mut SinterLlm, file: *const c_char) -> i32 {
        // SAFETY: as the header says.
        unsafe {
            on(llm, |s| {
                s.session.load_file(Path::new(text(file, "file")?))?;
                s.messages.clear();
                Ok(0)
            })
        }
    }
}
