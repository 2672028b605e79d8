//! Pruning, in front of everything else that is done to a model.

use super::Request;
use crate::calibrate;
use crate::dump::{self, Past};
use crate::spool::Spool;
use sinter_ir::program::Program;
use sinter_ir::{Diag, Module, Result};
use sinter_passes::plan::weights::Store;
use sinter_passes::prune::shelf::Shelf;
use sinter_passes::prune::{self, Pruned};

/// Where pruned weights wait, if not in memory.
pub fn shelf(request: &Request) -> Result<Option<Spool>> {
    request.spool.as_deref().filter(|_| request.prune.is_some()).map(Spool::create).transpose()
}

/// Does all steps to a module, one after the other, and gives what has to be done to another import of the same model.
pub fn run(
    module: &mut Module,
    past: &mut Past,
    request: &Request,
    shelf: Option<&mut Spool>,
    step: &dyn Fn(&str),
) -> Result<Vec<Pruned>, Vec<Diag>> {
    let one = |d: Diag| vec![d];
    let Some(recipe) = &request.prune else { return Ok(vec![]) };
    if dump::is_dump(&request.model) {
        let d = Diag::input("--prune wants a model as it comes from a framework, not a dumped text");
        return Err(one(d.help("give --prune where the model is compiled")));
    }
    let mut shelf = Shelf::new(shelf.map(|s| s as &mut dyn Store));
    let mut done = vec![];
    for s in &recipe.steps {
        step(&format!("pruning ({s})"));
        let p = match (&request.calibrate, s.needs_data()) {
            (Some(how), true) => {
                calibrate::prune(&request.model, &request.import, s, how, &done, &mut shelf, step)?
            }
            _ => prune::without_data(module, s, &mut shelf).map_err(one)?,
        };
        prune::apply(module, &p, &mut past.report).map_err(one)?;
        past.warnings.extend(p.warnings.iter().cloned());
        done.push(p);
    }
    Ok(done)
}

/// What zeros are worth in a program: those that no kernel leaves out cost as much as other weights.
pub fn told(request: &Request, program: &Program) -> Option<String> {
    let recipe = request.prune.as_ref().filter(|r| r.makes_zeros())?;
    let names = recipe.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    let skip = program.kernels.iter().filter(|k| k.name.starts_with("matmul_sparse")).count();
    (skip == 0).then(|| {
        format!(
            "--prune {names}: zeros are stored and multiplied like other weights, the model is as large and as fast as without (1.00 x)"
        )
    })
}
