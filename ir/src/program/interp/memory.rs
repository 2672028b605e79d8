//! The spaces of a program: arena, outputs, states, inputs, one per section of the weights, then the bytes of input strings.

use super::super::{Loc, Program};
use crate::tile::interp::{Space, View};
use crate::{Diag, Result};

/// A program's memory.
pub(super) struct Memory<'a, 'm> {
    pub p: &'a Program,
    pub spaces: Vec<Space<'m>>,
}

impl Memory<'_, '_> {
    /// From a location to the end of what it is in.
    pub fn view(&self, at: Loc) -> Result<View> {
        let (outputs, states) = (self.p.outputs.len(), self.p.states.len());
        let (space, offset) = match at {
            Loc::Arena(o) => (0, o),
            Loc::Output(i) => (1 + i as usize, 0),
            Loc::State(i) => (1 + outputs + i as usize, 0),
            Loc::Input(i) => (1 + outputs + states + i as usize, 0),
            Loc::Weights(o) => {
                let i = self.p.weights.partition_point(|(start, _)| *start <= o);
                let Some((start, _)) = i.checked_sub(1).and_then(|i| self.p.weights.get(i)) else {
                    return Err(Diag::bug(format!("{at} is in front of all weights")));
                };
                (1 + outputs + states + self.p.inputs.len() + i - 1, o - start)
            }
        };
        let len = self.spaces.get(space).map(|s| s.bytes().len() as u64);
        let room = len.and_then(|n| n.checked_sub(offset));
        let room = room.ok_or_else(|| Diag::bug(format!("{at} does not exist")))?;
        // Both are at most the length of a slice.
        Ok(View { space, offset: offset as usize, len: room as usize })
    }
    /// The first bytes of a location.
    pub fn read<const N: usize>(&self, at: Loc, skip: u64) -> Result<[u8; N]> {
        let v = self.view(at)?;
        let bytes = self.spaces[v.space].bytes().get(v.offset..).unwrap_or(&[]);
        let found = usize::try_from(skip).ok().and_then(|s| bytes.get(s..)?.first_chunk::<N>());
        found.copied().ok_or_else(|| Diag::bug(format!("{N} bytes at {at} + {skip} are read outside")))
    }
    /// Writes the first bytes of a location.
    pub fn write(&mut self, at: Loc, data: &[u8]) -> Result<()> {
        let v = self.view(at)?;
        let space = self.spaces[v.space].bytes_mut();
        let bytes = space.and_then(|b| b.get_mut(v.offset..)?.get_mut(..data.len()));
        let bytes =
            bytes.ok_or_else(|| Diag::bug(format!("{} bytes cannot be written at {at}", data.len())))?;
        bytes.copy_from_slice(data);
        Ok(())
    }
    /// Copies between ranges that do not overlap.
    pub fn copy(&mut self, dst: Loc, src: Loc, n: usize) -> Result<()> {
        let (d, s) = (self.view(dst)?, self.view(src)?);
        if n > d.len || n > s.len {
            return Err(Diag::bug(format!("{n} bytes do not fit in a copy from {src} to {dst}")));
        }
        if d.space == s.space && n > 0 && d.offset.abs_diff(s.offset) < n {
            return Err(Diag::bug(format!("{n} bytes overlap in a copy from {src} to {dst}")));
        }
        let data = self.spaces[s.space].bytes()[s.offset..s.offset + n].to_vec();
        self.write(dst, &data)
    }
}
