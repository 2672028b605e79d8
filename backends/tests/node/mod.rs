//! Node.js fed through pipes. Shared by the tests of several packages.

use std::io::{Read, Result, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// A process that answers what is written to it; gone when dropped.
pub struct Node {
    child: Child,
    to: Option<ChildStdin>,
    from: ChildStdout,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether Node.js is installed.
pub fn installed() -> bool {
    Command::new("node").arg("--version").output().is_ok_and(|o| o.status.success())
}

impl Node {
    /// Runs Node.js with these arguments: a file, or `-e` and a script.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut command = Command::new("node");
        command.args(args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take(), child.stdout.take().unwrap());
        Ok(Self { child, to, from })
    }
    /// Lets the process see the end of what is written, and waits for its own.
    #[allow(dead_code)]
    pub fn end(mut self) -> Result<ExitStatus> {
        self.to = None;
        self.child.wait()
    }
    /// Bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.as_mut().map_or(Ok(()), |to| to.write_all(bytes))
    }
    /// A number of 32 bits.
    pub fn number(&mut self) -> Result<i32> {
        let mut b = [0; 4];
        self.from.read_exact(&mut b)?;
        Ok(i32::from_le_bytes(b))
    }
    /// Bytes behind their number.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.write(&(bytes.len() as u32).to_le_bytes())?;
        self.write(bytes)
    }
    /// Bytes behind their number.
    pub fn receive(&mut self) -> Result<Vec<u8>> {
        let mut out = vec![0; self.number()? as u32 as usize];
        self.from.read_exact(&mut out)?;
        Ok(out)
    }
}
