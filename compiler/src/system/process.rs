//! Other programs and temporary folders.

use sinter_ir::{Diag, Result};
use sinter_runtime::remote::Remote;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Starts a program that runs bundles for this one.
pub fn remote<'a>(program: &str, arguments: impl Iterator<Item = &'a str>) -> Result<Remote> {
    let mut command = Command::new(program);
    command.args(arguments);
    Remote::start(command).map_err(|e| Diag::input(format!("cannot start {program}: {e}")))
}

/// A program that answers lines with lines. Between two answers it is stopped, all its threads: those of many runtimes
/// look for work for a while after the last, on processors that others are measured on. Dropped, it is ended.
pub struct Talk {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<String>,
}

impl Talk {
    /// Starts a program. What it writes to standard error is thrown away.
    pub fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| Diag::input(format!("cannot start {program}: {e}")))?;
        let to = child.stdin.take();
        let out = child.stdout.take().ok_or_else(|| Diag::bug("a child without standard output"))?;
        let (lines, from) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if lines.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, to, from })
    }
    /// Says a line and waits for the answer.
    pub fn ask(&mut self, line: &str, patience: Duration) -> Result<String> {
        let gone = |d: &mut Self| {
            let how = d.child.wait().map_or_else(|e| e.to_string(), |s| s.to_string());
            Diag::input(format!("the program ended ({how})"))
        };
        self.signal(Signal::Go);
        let sent = self.to.as_mut().map(|to| writeln!(to, "{line}").and_then(|()| to.flush()));
        if !matches!(sent, Some(Ok(()))) {
            return Err(gone(self));
        }
        match self.from.recv_timeout(patience) {
            Ok(answer) => {
                self.signal(Signal::Stop);
                Ok(answer)
            }
            Err(RecvTimeoutError::Disconnected) => Err(gone(self)),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                Err(Diag::limit(format!("no answer for {} s", patience.as_secs())))
            }
        }
    }
    /// Stops the program or lets it go on, where the system knows such signals.
    fn signal(&self, signal: Signal) {
        #[cfg(unix)]
        if let Ok(id) = i32::try_from(self.child.id())
            && let Some(id) = rustix::process::Pid::from_raw(id)
        {
            let signal = match signal {
                Signal::Stop => rustix::process::Signal::STOP,
                Signal::Go => rustix::process::Signal::CONT,
            };
            // One that has ended needs neither.
            let _ = rustix::process::kill_process(id, signal);
        }
        #[cfg(not(unix))]
        let _ = signal;
    }
}

/// What a program is told beside its standard input.
enum Signal {
    Stop,
    Go,
}

impl Drop for Talk {
    fn drop(&mut self) {
        // The end of its input is the sign to leave; who does not see it is working on something nobody waits for.
        self.to.take();
        self.signal(Signal::Go);
        if self.from.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// What a program writes to standard output, when it ends well.
pub fn output_of(program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let done = done.map_err(|e| Diag::input(format!("cannot start {program}: {e}")))?;
    match done.status.success() {
        true => Ok(done.stdout),
        false => Err(Diag::input(format!("{program} ended ({})", done.status))),
    }
}

/// An empty folder that goes away with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one where the system keeps temporary files.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sinter-{}-{n}", std::process::id()));
        std::fs::create_dir(&path)
            .map_err(|e| Diag::output(format!("cannot create {}: {e}", path.display())))?;
        Ok(Self(path))
    }
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A variable of the environment.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The path of a file independent of the working folder.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|e| Diag::input(format!("{}: {e}", path.display())))
}
