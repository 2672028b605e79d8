//! What is found out by running the model, before it is compiled.

use super::{Request, pruning};
use crate::calibrate::mix::Weigh;
use crate::calibrate::{self, Calibration};
use crate::dump::Past;
use crate::frontend::llm::cache::KvCache;
use crate::frontend::{self, llm};
use crate::spool::Spool;
use sinter_ir::{Diag, Module, Result};
use sinter_passes::compress::recipe::Basis;
use sinter_passes::compress::rotation::Rotations;
use sinter_passes::compress::{Calibrated, Recipe};
use sinter_passes::prune::{self, Pruned};

/// What a compilation found out by running the model: another one of the same model with the same recipes need not.
#[derive(Debug, Clone, Default)]
pub struct Known {
    rotations: Option<Rotations>,
    pruned: Vec<Pruned>,
    codes: Option<Calibrated>,
}

impl Known {
    /// All of it.
    pub(super) fn new(request: &Request, pruned: Vec<Pruned>, codes: Option<Calibrated>) -> Self {
        Self { rotations: request.import.rotations.clone(), pruned, codes }
    }
}

/// The request with the rotations that its recipe asks for.
pub(super) fn rotated(request: &Request, step: &dyn Fn(&str)) -> Result<Request, Vec<Diag>> {
    let mut request = request.clone();
    let Some(recipe) = request.compress.filter(|r| r.basis != Basis::Own) else { return Ok(request) };
    if let Some(known) = &request.known {
        request.import.rotations.clone_from(&known.rotations);
        return Ok(request);
    }
    if recipe.basis == Basis::Fitting {
        request.import.rotations = Some(rotations(&request, &recipe, Rotations::default()));
        let fits = request.prune.is_none()
            && llm::is_model(&request.model)
            && frontend::import(&request.model, &request.import).is_ok();
        if !fits {
            step("the model is rounded in its own basis: its architecture cannot be rotated");
            request.import.rotations = None;
        }
        return Ok(request);
    }
    if !llm::is_model(&request.model) {
        let d = Diag::unsupported(format!("--quantize: {} is no language model", request.model.display()));
        return Err(vec![d.help("rotate and spin are for language models")]);
    }
    if request.prune.is_some() {
        let d = Diag::unsupported(
            "--prune: channels that are chosen in a model's own basis are mixed by rotations",
        );
        return Err(vec![d.help("prune, or rotate (recipes with rotate and spin)")]);
    }
    let made = match (recipe.basis, &request.calibrate) {
        (Basis::Learned, Some(how)) => calibrate::learn(&request.model, &request.import, &recipe, how, step)?,
        (Basis::Learned, None) => {
            let d = Diag::input("--quantize spin: rotations are learned by what the model makes of a text");
            return Err(vec![d.help("give a text to run the model on with --calibrate FILE")]);
        }
        _ => Rotations::default(),
    };
    request.import.rotations = Some(rotations(&request, &recipe, made));
    Ok(request)
}

/// Rotations as activations and caches of a recipe want them.
fn rotations(request: &Request, recipe: &Recipe, made: Rotations) -> Rotations {
    let keys = request.import.kv_cache.is_some_and(|c| matches!(c, KvCache::Codes(_)));
    Rotations { group: recipe.grain(), keys, ..made }
}

/// Prunes a module.
pub(super) fn pruned(
    module: &mut Module,
    past: &mut Past,
    request: &Request,
    shelf: Option<&mut Spool>,
    step: &dyn Fn(&str),
) -> Result<Vec<Pruned>, Vec<Diag>> {
    let Some(known) = &request.known else { return pruning::run(module, past, request, shelf, step) };
    for p in &known.pruned {
        prune::apply(module, p, &mut past.report).map_err(|d| vec![d])?;
    }
    Ok(known.pruned.clone())
}

/// Windows of text by which errors are told where the recipe does not need to see activations.
const LOOKED: usize = 4;

/// Codes of weights by what the model makes of a text, where the recipe needs that or there is a text to tell errors by.
pub(super) fn calibrated(
    request: &Request,
    pruned: &[Pruned],
    weigh: &Weigh,
    step: &dyn Fn(&str),
) -> Result<Option<Calibrated>, Vec<Diag>> {
    if let Some(known) = &request.known {
        return Ok(known.codes.clone());
    }
    let (Some(recipe), Some(how)) = (&request.compress, &request.calibrate) else { return Ok(None) };
    let few = Calibration { windows: how.windows.min(LOOKED), stats: None, work: None, ..how.clone() };
    let how = match recipe.calibrates() {
        true => how,
        false if llm::is_model(&request.model) => &few,
        false => return Ok(None),
    };
    calibrate::run(&request.model, &request.import, recipe, how, pruned, weigh, step).map(Some)
}
