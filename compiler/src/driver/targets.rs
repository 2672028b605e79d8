//! Targets by the names that users give.

use crate::system;
use sinter_backends as backends;
use sinter_ir::Diag;
use sinter_ir::target::TargetDesc;

/// The strongest level that this machine can run, with everything more that emitters can use.
pub fn native() -> Result<&'static TargetDesc, Diag> {
    let able = |t: &&TargetDesc| {
        t.triple.starts_with(std::env::consts::ARCH) && t.features.iter().all(|f| system::host_has(f))
    };
    let strongest = || backends::targets().iter().chain(backends::variants()).rev().find(able);
    strongest().ok_or_else(|| {
        Diag::unsupported(format!("no target fits this machine ({})", std::env::consts::ARCH))
            .help("name one with --target; `sinter targets` lists them")
    })
}

/// A target by name.
pub fn target(name: &str) -> Result<&'static TargetDesc, Diag> {
    if name == "native" {
        return native();
    }
    backends::target(name)
        .ok_or_else(|| Diag::input(format!("unknown target `{name}`")).help("`sinter targets` lists them"))
}

/// Targets whose code goes into one bundle, strongest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// As they were asked for: the bundle's folder.
    pub folder: String,
    /// At least one.
    pub targets: Vec<&'static TargetDesc>,
}

impl Levels {
    /// One target, or several with commas between them.
    pub fn parse(names: &str) -> Result<Self, Diag> {
        let mut targets = names.split(',').map(target).collect::<Result<Vec<_>, _>>()?;
        // What can do more has more features: where one set holds another it comes first.
        targets.sort_by_key(|t| std::cmp::Reverse(t.features.len()));
        for (i, t) in targets.iter().enumerate() {
            let before = targets.iter().take(i);
            if let Some(same) = before.into_iter().find(|b| b.features == t.features) {
                let what = format!(
                    "{} and {} need the same instructions: one would never be chosen",
                    same.name, t.name
                );
                return Err(Diag::input(what).help("leave one of them out, or compile them one by one"));
            }
        }
        if let [first, others @ ..] = targets.as_slice()
            && let Some(other) = others.iter().find(|t| t.triple != first.triple)
        {
            let what = format!("{} and {} cannot share an archive", first.name, other.name);
            return Err(Diag::input(what).help("compile them one by one"));
        }
        Ok(Self { folder: names.to_owned(), targets })
    }
    /// The targets' own names, strongest first, as they are given to `--target`.
    pub fn names(&self) -> String {
        self.targets.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strongest_first_and_each_once() {
        let l = Levels::parse("x86-64-v2,x86-64-v4+avx512vnni,x86-64-v3").unwrap();
        assert_eq!(l.names(), "x86-64-v4+avx512vnni,x86-64-v3,x86-64-v2");
        assert_eq!(l.folder, "x86-64-v2,x86-64-v4+avx512vnni,x86-64-v3");
        for same in ["x86-64-v3,x86-64-v3", "x86-64-v3,haswell", "x86-64-v4,x86-64-v2,skylake-server"] {
            assert!(Levels::parse(same).unwrap_err().message.contains("never be chosen"), "{same}");
        }
        for unknown in ["", "x86-64-v3,", "x86-64-v3,z80"] {
            assert!(Levels::parse(unknown).unwrap_err().message.contains("unknown target"), "{unknown}");
        }
    }
}
