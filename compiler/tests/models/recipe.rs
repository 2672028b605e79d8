//! Inputs from recipes: the same bytes as testdata/scripts/expected.py makes.

use serde_json::Value;
use sinter_ir::{DType, Tensor};

/// One value of [-1, 1) per seed and index (SplitMix64's mixer), exact in f32.
fn noise(seed: u64, i: u64) -> f64 {
    let z = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(i.wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add(0x94d0_49bb_1331_11eb);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
}

/// The tensor of a recipe.
pub fn fill(recipe: &Value) -> Tensor {
    let shape: Vec<usize> =
        recipe["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let n: usize = shape.iter().product();
    let number = |key: &str| recipe[key].as_f64().unwrap();
    let seed = recipe["seed"].as_u64().unwrap_or(0);
    let value: Box<dyn Fn(usize) -> f64> = match recipe["kind"].as_str().unwrap() {
        "value" => Box::new(|_| number("value")),
        "noise" => Box::new(|i| noise(seed, i as u64)),
        "saw" => {
            let (period, gain) = (number("period"), number("gain"));
            Box::new(move |i| ((i as f64 % period) / period * 2.0 - 1.0) * gain)
        }
        "text" => {
            let (h, w) = (shape[shape.len() - 2], shape[shape.len() - 1]);
            Box::new(move |i| {
                let (y, x) = (i / w % h, i % w);
                let stroke = noise(seed, (y / 2 * 65536 + x / 2) as u64) < 0.0;
                if y / 10 % 2 == 1 && stroke { -2.0 } else { 2.0 }
            })
        }
        other => panic!("recipe {other}"),
    };
    let values: Vec<f64> = (0..n).map(value).collect();
    match recipe["dtype"].as_str().unwrap() {
        "float32" => Tensor::from_f64(DType::F32, shape, &values).unwrap(),
        "int64" => Tensor::from_i64(DType::I64, shape, &values.iter().map(|&v| v as i64).collect::<Vec<_>>())
            .unwrap(),
        other => panic!("element type {other}"),
    }
}
