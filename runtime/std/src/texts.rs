//! Strings across the C ABI: views of 16 bytes, an address and a number of bytes.

#![allow(unsafe_code)]

use std::ffi::c_void;

/// A string as a bundle sees it: `struct { const char *data; uint64_t size; }`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Text {
    /// First byte; anything where `size` is 0.
    pub data: *const c_void,
    /// Bytes.
    pub size: u64,
}

/// Strings as an input: the views, which borrow the strings.
#[derive(Debug)]
pub struct Texts<'a> {
    views: Vec<Text>,
    _strings: std::marker::PhantomData<&'a [String]>,
}

impl<'a> Texts<'a> {
    /// Views of strings.
    pub fn of(strings: &'a [String]) -> Self {
        let view = |s: &String| Text { data: s.as_ptr().cast(), size: s.len() as u64 };
        Self { views: strings.iter().map(view).collect(), _strings: std::marker::PhantomData }
    }
    /// The bytes of the views.
    pub fn bytes(&self) -> &[u8] {
        let len = std::mem::size_of_val(self.views.as_slice());
        // SAFETY: the views are plain data without padding on targets with 8-byte addresses, of `len` bytes.
        unsafe { std::slice::from_raw_parts(self.views.as_ptr().cast(), len) }
    }
}

/// Copies the strings that views in an output point to; bytes that are no UTF-8 become replacement characters.
///
/// # Safety
/// The views must come from the last run of a bundle that is still loaded, and the inputs of that run must still be
/// where they were.
pub unsafe fn read(views: &[u8]) -> Vec<String> {
    let (views, _) = views.as_chunks::<16>();
    let one = |v: &[u8; 16]| {
        let (data, size) = v.split_at(8);
        let word = |b: &[u8]| u64::from_ne_bytes(b.try_into().unwrap_or_default());
        let (data, size) = (word(data) as *const u8, word(size) as usize);
        if size == 0 {
            return String::new();
        }
        // SAFETY: the caller's promise: the address and size are a live text.
        String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(data, size) }).into_owned()
    };
    views.iter().map(one).collect()
}

const _: () = assert!(std::mem::size_of::<Text>() == 16, "views of texts have 16 bytes");
