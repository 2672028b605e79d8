//! What generating costs in memory.

use crate::{guard, scratch, toy};
use sinter_llm::Model;
use sinter_llm::files::{self, Opening};

/// A bundle's runs allocate nothing, whether they read or generate.
#[test]
fn runs_allocate_nothing() {
    let bundle = toy::bundle(&scratch("memory"), 0);
    for threads in [1, 2] {
        let mut m = files::model(&bundle, Opening { threads, capacity: Some(toy::ROOM) }).unwrap();
        let tokens: Vec<u32> = (0..toy::CHUNK as u32).collect();
        let (last, held) = guard::peak(|| {
            m.forward(&tokens).unwrap();
            for t in 0..100 {
                m.forward(&[t % 26]).unwrap();
            }
            m.logits().iter().fold(0f32, |a, b| a.max(*b))
        });
        assert!(last > 0.0);
        assert_eq!(held, 0, "{threads} threads");
    }
}
