//! The only place that touches files, environment and clock.

#![allow(clippy::disallowed_methods)]

mod growing;
mod host;
mod process;

use bytes::Bytes;
pub use growing::Growing;
pub use host::{host_has, threads};
pub use process::{Scratch, Talk, absolute, output_of, remote, variable};
use sinter_ir::{Diag, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 64 << 30;

fn io(what: &str, path: &Path, e: &std::io::Error) -> Diag {
    Diag::input(format!("cannot {what} {}: {e}", path.display()))
}

fn failed(what: &str, path: &Path, e: &std::io::Error) -> Diag {
    Diag::output(format!("cannot {what} {}: {e}", path.display()))
}

/// Reads a whole regular file.
pub fn read(path: &Path) -> Result<Bytes> {
    size_of_regular(path)?;
    fs::read(path).map(Bytes::from).map_err(|e| io("read", path, &e))
}

/// Reads a whole file of text.
pub fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?.into());
    text.map_err(|e| Diag::input(format!("{}: {}", path.display(), e.utf8_error())))
}

/// A file in memory, read page by page where it is used.
#[derive(Debug, Clone)]
struct Mapped(Arc<sinter_runtime::Image>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// A file in memory whose memory can be given back.
#[derive(Debug, Clone)]
pub struct Mapping(Option<Mapped>);

impl Mapping {
    /// Maps a whole regular file, which must not change while the compiler runs. Weights of many gigabytes cost memory
    /// only where they are looked at.
    pub fn of(path: &Path) -> Result<Self> {
        if size_of_regular(path)? == 0 {
            return Ok(Self(None));
        }
        let image = sinter_runtime::Image::map(path).map_err(|e| io("read", path, &e))?;
        Ok(Self(Some(Mapped(Arc::new(image)))))
    }
    /// What is in the file.
    pub fn bytes(&self) -> Bytes {
        self.0.clone().map(Bytes::from_owner).unwrap_or_default()
    }
    /// Gives the memory of pages that were looked at back; whoever looks again gets them from the file.
    pub fn release(&self) {
        if let Some(m) = &self.0 {
            m.0.forget();
        }
    }
}

fn size_of_regular(path: &Path) -> Result<u64> {
    let meta = fs::metadata(path).map_err(|e| io("read", path, &e))?;
    match meta.is_file() {
        true if meta.len() <= MAX_FILE_BYTES => Ok(meta.len()),
        true => Err(Diag::limit(format!("{} has {} bytes", path.display(), meta.len()))),
        false => Err(Diag::input(format!("{} is not a regular file", path.display()))),
    }
}

/// Maps a whole regular file, see [`Mapping`].
pub fn map(path: &Path) -> Result<Bytes> {
    Mapping::of(path).map(|m| m.bytes())
}

/// Reads a regular file piece by piece.
pub fn read_pieces(path: &Path, mut f: impl FnMut(&[u8])) -> Result<()> {
    size_of_regular(path)?;
    let mut file = fs::File::open(path).map_err(|e| io("read", path, &e))?;
    let mut piece = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut piece).map_err(|e| io("read", path, &e))? {
            0 => return Ok(()),
            n => f(piece.get(..n).unwrap_or_default()),
        }
    }
}

/// Bytes of a file, without opening it.
pub fn file_size(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|m| m.len()).map_err(|e| io("find", path, &e))
}

/// Whether a file is there.
pub fn exists(path: &Path) -> bool {
    path.is_file()
}

/// Whether a directory is there.
pub fn is_dir(path: &Path) -> bool {
    path.is_dir()
}

/// What is in a directory, in the order of names.
pub fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(path).map_err(|e| io("read", path, &e))?;
    let paths: std::io::Result<Vec<PathBuf>> = all.map(|e| e.map(|e| e.path())).collect();
    let mut paths = paths.map_err(|e| io("read", path, &e))?;
    paths.sort();
    Ok(paths)
}

/// Takes a directory away, with all that is in it.
pub fn remove_dir(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).map_err(|e| failed("remove", path, &e))
}

/// Finds a file that a model refers to by a relative name. The name must stay below the model's folder,
/// either as written or after links are followed on both sides (Hugging Face caches link snapshots to blobs).
pub fn beside(model: &Path, name: &str) -> Result<PathBuf> {
    let bad = |what: &str| Diag::input(format!("external data `{name}`: {what}"));
    let relative = Path::new(name);
    if name.is_empty()
        || !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    {
        return Err(bad("the path must be relative and must not leave the model's folder"));
    }
    let folder = model.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = folder.join(relative);
    let real = fs::canonicalize(&path).map_err(|e| io("find", &path, &e))?;
    let inside = |dir: &Path| fs::canonicalize(dir).is_ok_and(|d| real.starts_with(d));
    // A link may lead out of the folder only the way the model file itself does: into the same blob store.
    let store = fs::canonicalize(model).ok().and_then(|m| m.parent().map(Path::to_path_buf));
    let linked_model = fs::symlink_metadata(model).is_ok_and(|m| m.file_type().is_symlink());
    let allowed = inside(folder) || linked_model && store.is_some_and(|s| inside(&s));
    if !allowed {
        return Err(bad("it is a link out of the model's folder"));
    }
    if !real.is_file() {
        return Err(bad("not a regular file"));
    }
    Ok(real)
}

/// Writes a folder of files as a whole: everything goes to a temporary folder beside it, which then takes the
/// place of the old one. On failure nothing of the new content stays and the old folder is untouched.
///
/// `grown` are files beside `dir` that move into it under their names.
pub fn write_dir(dir: &Path, files: &BTreeMap<String, Bytes>, grown: &[(String, &Growing)]) -> Result<()> {
    let name = dir.file_name().ok_or_else(|| Diag::output(format!("{} names no folder", dir.display())))?;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = |end: &str| parent.join(format!(".{}.{}.{end}", name.to_string_lossy(), std::process::id()));
    let (temp, old) = (beside("tmp"), beside("old"));
    let new_parent = !parent.exists();
    let written = fill(&temp, files, grown).and_then(|()| swap(&temp, dir, &old));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temp);
        if new_parent {
            // Only goes when empty.
            let _ = fs::remove_dir(parent);
        }
    }
    written
}

/// Puts `new` in the place of `dir`. Until the very end the old content can be put back.
fn swap(new: &Path, dir: &Path, old: &Path) -> Result<()> {
    if fs::symlink_metadata(dir).is_err() {
        return fs::rename(new, dir).map_err(|e| failed("write", dir, &e));
    }
    if !replaceable(dir) {
        return Err(Diag::output(format!("{} exists and is not a bundle", dir.display()))
            .help("choose another output folder"));
    }
    fs::rename(dir, old).map_err(|e| failed("replace", dir, &e))?;
    if let Err(e) = fs::rename(new, dir) {
        let d = failed("write", dir, &e);
        return Err(match fs::rename(old, dir) {
            Ok(()) => d,
            Err(_) => d.help(format!("the old bundle is in {}", old.display())),
        });
    }
    let _ = fs::remove_dir_all(old);
    Ok(())
}

/// Only bundles (or empty folders) are ever replaced.
fn replaceable(dir: &Path) -> bool {
    dir.join("manifest.json").is_file() || fs::read_dir(dir).is_ok_and(|mut d| d.next().is_none())
}

fn fill(temp: &Path, files: &BTreeMap<String, Bytes>, grown: &[(String, &Growing)]) -> Result<()> {
    fs::create_dir_all(temp).map_err(|e| failed("create", temp, &e))?;
    for (name, bytes) in files {
        let path = temp.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
        }
        write(&path, &[bytes])?;
    }
    grown.iter().try_for_each(|(name, file)| file.move_to(&temp.join(name)))
}

/// Writes one file.
fn write(path: &Path, parts: &[&[u8]]) -> Result<()> {
    let mut f = fs::File::create(path).map_err(|e| failed("write", path, &e))?;
    let all = parts.iter().try_for_each(|p| f.write_all(p));
    all.and_then(|()| f.sync_all()).map_err(|e| failed("write", path, &e))
}

/// Writes one file through a temporary name.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    write_parts(path, &[bytes])
}

/// Writes the parts of one file, one after the other, through a temporary name.
pub fn write_parts(path: &Path, parts: &[&[u8]]) -> Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| failed("create", parent, &e))?;
    }
    let temp = path.with_extension(format!("{}.tmp", std::process::id()));
    let done =
        write(&temp, parts).and_then(|()| fs::rename(&temp, path).map_err(|e| failed("write", path, &e)));
    if done.is_err() {
        let _ = fs::remove_file(&temp);
    }
    done
}

/// Most memory that this process has had at once, in bytes; known on Linux.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What went wrong with standard output, if anything did.
static STDOUT: OnceLock<Diag> = OnceLock::new();

/// Writes a line to standard output. A reader that went away or a full disk is no reason to stop in the middle:
/// the first failure is kept for [`said`].
pub fn say(line: std::fmt::Arguments) {
    if let Err(e) = writeln!(std::io::stdout(), "{line}") {
        let _ = STDOUT.set(Diag::output(format!("cannot write to standard output: {e}")));
    }
}

/// Writes a part of a line to standard output, to be seen at once.
pub fn say_part(text: &str) {
    let mut out = std::io::stdout();
    if let Err(e) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        let _ = STDOUT.set(Diag::output(format!("cannot write to standard output: {e}")));
    }
}

/// Whether standard output takes no more: there is nobody to speak to.
pub fn unheard() -> bool {
    STDOUT.get().is_some()
}

/// The next line of standard input without its end; `None`: there is none.
pub fn hear() -> Result<Option<String>> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned())),
        Err(e) => Err(Diag::input(format!("standard input: {e}"))),
    }
}

/// Whether a person sits at standard input.
pub fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stdin())
}

/// Seconds since 1970, for chats that tell the date.
pub fn now() -> Option<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_secs()).ok())
}

/// Writes a line to standard error, where nobody may listen any more.
pub fn warn(line: std::fmt::Arguments) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether everything that was said could be written.
pub fn said() -> Result<()> {
    let flushed = std::io::stdout().flush();
    match (STDOUT.get(), flushed) {
        (Some(d), _) => Err(d.clone()),
        (None, Err(e)) => Err(Diag::output(format!("cannot write to standard output: {e}"))),
        (None, Ok(())) => Ok(()),
    }
}

/// A stopwatch, for progress and `run`'s timing only: no time ever reaches a bundle.
#[derive(Debug, Clone, Copy)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Starts.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }
    /// Seconds since the start.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
