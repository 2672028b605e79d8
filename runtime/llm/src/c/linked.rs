//! Bundles that are linked into the program.

use crate::bundle::{BundleModel, Manifest};
use crate::error::{Error, Result};
use crate::files::{self, Opening};
use crate::session::Session;
use sinter_runtime::Bundle;
use std::path::Path;
use std::sync::Arc;

/// The functions of a bundle's header.
pub use sinter_runtime::Functions;

/// Opens the files of a bundle for code that is linked.
///
/// # Safety
/// Null, or the functions of one bundle.
pub unsafe fn open(
    dir: &Path,
    functions: *const Functions,
    opening: Opening,
) -> Result<Session<BundleModel>> {
    // SAFETY: the caller's promise.
    let functions = unsafe { functions.as_ref() }.ok_or_else(|| Error::input("functions is null"))?;
    let manifest: Manifest = files::manifest(dir)?;
    let weights = files::weights(dir, &manifest.name)?;
    // SAFETY: the caller's promise.
    let bundle = unsafe { Bundle::linked(*functions, weights, opening.threads.max(1)) };
    let bundle = bundle.map_err(|e| Error::input(e.to_string()))?;
    let language = files::language_of(dir, &manifest)?;
    let model = BundleModel::new(&manifest, bundle, manifest.capacity(opening.capacity)?)?;
    Session::new(model, Arc::new(language))
}
