//! A file that grows while a bundle is made and becomes one of its files in the end.

use super::{Mapping, failed};
use sinter_ir::Result;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of the next file: several may grow at once.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Bytes that are written at once, from a multiple of as many on: the system's cache holds them in one large page then,
/// if it can, and whoever maps the file reads it faster.
const PIECE: usize = 2 << 20;

/// Written from front to back. It goes with the value, unless it was moved.
#[derive(Debug)]
pub struct Growing {
    file: fs::File,
    path: PathBuf,
    /// The folder where it was made for this file.
    made: Option<PathBuf>,
    len: u64,
    /// The last bytes of them, which are not in the file yet.
    rest: Vec<u8>,
}

impl Growing {
    /// An empty file in a folder, which is made where it is not there.
    pub fn create(folder: &Path) -> Result<Self> {
        let made = (!folder.exists()).then(|| folder.to_owned());
        fs::create_dir_all(folder).map_err(|e| failed("create", folder, &e))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{}.{number}.weights.tmp", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path);
        Ok(Self { file: file.map_err(|e| failed("create", &path, &e))?, path, made, len: 0, rest: vec![] })
    }
    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Writes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = PIECE - (self.len % PIECE as u64) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.len += now.len() as u64;
            if now.len() == PIECE {
                self.put(self.len - PIECE as u64, now)?;
            } else {
                self.rest.extend_from_slice(now);
                if now.len() == room {
                    self.flush()?;
                }
            }
            bytes = later;
        }
        Ok(())
    }
    /// Writes over what is there.
    pub fn write_at(&mut self, at: u64, bytes: &[u8]) -> Result<()> {
        self.flush()?;
        self.put(at, bytes)
    }
    /// Brings everything to the file.
    fn flush(&mut self) -> Result<()> {
        self.put(self.len - self.rest.len() as u64, &self.rest)?;
        self.rest.clear();
        Ok(())
    }
    fn put(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut f = &self.file;
        let done = f.seek(SeekFrom::Start(at)).and_then(|_| f.write_all(bytes));
        done.map_err(|e| failed("write", &self.path, &e))
    }
    /// Gives the bytes from `at` on to `f`, piece by piece, until it has enough or the file ends.
    pub fn read_from(&self, at: u64, mut f: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let wrong = |e: std::io::Error| failed("read", &self.path, &e);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).map_err(wrong)?;
        let mut piece = vec![0u8; 1 << 20];
        loop {
            let n = file.read(&mut piece).map_err(wrong)?;
            if n == 0 {
                // `at` may lie in what is not in the file yet.
                let begin = self.len - self.rest.len() as u64;
                let skip = usize::try_from(at.saturating_sub(begin)).unwrap_or(usize::MAX);
                f(self.rest.get(skip..).unwrap_or_default());
                return Ok(());
            }
            if !f(piece.get(..n).unwrap_or_default()) {
                return Ok(());
            }
        }
    }
    /// The file in memory, read where it is looked at.
    pub fn map(&mut self) -> Result<Mapping> {
        self.flush()?;
        Mapping::of(&self.path)
    }
    /// Gives the file its name; only within one file system.
    pub fn move_to(&self, to: &Path) -> Result<()> {
        self.put(self.len - self.rest.len() as u64, &self.rest)?;
        self.file.sync_all().map_err(|e| failed("write", &self.path, &e))?;
        fs::rename(&self.path, to).map_err(|e| failed("write", to, &e))
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(folder) = &self.made {
            // Only goes when empty.
            let _ = fs::remove_dir(folder);
        }
    }
}
