//! Choices that the cost model makes and that can be measured instead.
//!
//! A question is a text that says all that the answer may depend on, so that kernels that are equal but for their
//! answers ask the same. Answers are data: with the same answers a model becomes the same code, without measuring.

use super::contract::micro::Tile;
use sinter_ir::Expr;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Rows and vectors of a register tile: the answer to a question.
pub type Answer = [u32; 2];

/// What is known beforehand, and what was asked.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Answers by question.
    pub answers: BTreeMap<String, Answer>,
    /// Where nothing is known: the best of the cost model's candidates is 0, the next one 1.
    pub rank: usize,
    asked: RefCell<BTreeMap<String, Answer>>,
    recent: RefCell<BTreeSet<String>>,
}

impl Choices {
    /// Fixed answers.
    pub fn new(answers: BTreeMap<String, Answer>) -> Self {
        Self { answers, ..Self::default() }
    }
    /// The cost model's candidate of a rank for everything; the last one where there are fewer.
    pub fn of_rank(rank: usize) -> Self {
        Self { rank, ..Self::default() }
    }
    /// The tile of a product, from candidates that are in the order of the cost model.
    pub(crate) fn tile(&self, what: &str, (m, n): (&Expr, &Expr), candidates: &[Tile]) -> Option<Tile> {
        let first = *candidates.first()?;
        let question = format!("{what} {m} x {n} lanes {}", first.lanes);
        let answer = |t: &Tile| [t.mr as u32, t.nv as u32];
        let known = self.answers.get(&question);
        let known = known.and_then(|a| candidates.iter().find(|t| answer(t) == *a));
        let tile =
            *known.unwrap_or_else(|| candidates.get(self.rank).unwrap_or(&candidates[candidates.len() - 1]));
        self.asked.borrow_mut().insert(question.clone(), answer(&tile));
        self.recent.borrow_mut().insert(question);
        Some(tile)
    }
    /// What was asked since this was last called.
    pub(crate) fn recent(&self) -> Vec<String> {
        self.recent.take().into_iter().collect()
    }
    /// Everything that was asked, and how it was answered.
    pub fn asked(&self) -> BTreeMap<String, Answer> {
        self.asked.borrow().clone()
    }
    /// Questions of fixed answers that nobody asked, or to which theirs was no possible answer.
    pub fn unused(&self) -> Vec<String> {
        let asked = self.asked.borrow();
        let other = self.answers.iter().filter(|(q, a)| asked.get(*q) != Some(a));
        other.map(|(q, _)| q.clone()).collect()
    }
}
