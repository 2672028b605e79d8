//! Pictures: a classifier on a photo, and how pixels become elements.

use super::{abs_model, common, ok, output, refused, scratch};
use image::{Rgb, RgbImage};
use std::path::Path;

/// The cats among the 1000 classes.
const CATS: [&str; 5] = ["tabby", "tiger cat", "Persian cat", "Siamese cat", "Egyptian cat"];

#[test]
fn a_classifier_says_cat() {
    let dir = scratch("classifier");
    let root = common::root();
    let path = |p: &str| root.join("testdata").join(p).to_str().unwrap().to_owned();
    let model = path("models/efficientnet-lite0-qdq/model.onnx");
    let labels = path("models/efficientnet-lite0-qdq/labels.txt");
    let photo = path("media/chelsea.png");
    ok(&dir, &["compile", &model, "--name", "classifier", "-o", "out"]);
    let run = |from: &str, more: &[&str]| {
        let mut a = vec!["run", from, &photo, "--mean", "127", "--std", "128"];
        a.extend(more);
        ok(&dir, &a)
    };
    let text = run("out/native", &["--labels", &labels]);
    let best: Vec<(f64, &str)> = text
        .lines()
        .filter_map(|l| l.split_once(" %  "))
        .map(|(p, name)| (p.trim().parse().unwrap(), name))
        .collect();
    assert_eq!(best.len(), 5, "{text}");
    assert!(CATS.contains(&best[0].1) && best[0].0 > 20.0, "{text}");
    assert!(best.iter().filter(|b| CATS.contains(&b.1)).count() >= 2, "{text}");
    assert!(best.windows(2).all(|w| w[0].0 >= w[1].0), "best first: {text}");
    assert!(best.iter().map(|b| b.0).sum::<f64>() <= 100.1, "{text}");
    assert_eq!(run("out/native", &["--labels", &labels, "--top", "2"]).matches(" %  ").count(), 2);
    // A model is compiled on the fly to the same answer; threads change nothing.
    let whole = run("out/native", &["--json"]);
    assert_eq!(output(&whole, "logits").0, [1, 1000]);
    assert_eq!(run(&model, &["--json"]), whole);
    assert_eq!(run("out/native", &["--json", "--threads", "3"]), whole);
    // Labels of another model.
    let few = dir.join("few.txt");
    std::fs::write(&few, "a\nb\nc\n").unwrap();
    let few = few.to_str().unwrap();
    refused(&dir, &["run", "out/native", &photo, "--labels", few], &["3 labels", "[1, 1000]"]);
}

fn red(x: u32, y: u32) -> u8 {
    (x * 40 + y * 3) as u8
}

/// A picture of 6 x 5 pixels, each of another colour.
fn picture(dir: &Path) {
    let colours = RgbImage::from_fn(6, 5, |x, y| Rgb([red(x, y), 255 - red(x, y), (y * 50) as u8]));
    colours.save(dir.join("p.png")).unwrap();
}

#[test]
fn pixels_in_both_layouts() {
    let dir = scratch("layouts");
    picture(&dir);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} {b}");
    let pixel = |x: usize, y: usize| [f64::from(red(x as u32, y as u32)), 0.0, y as f64 * 50.0];
    for (dims, planar) in [([1, 3, 5, 6], true), ([1, 5, 6, 3], false)] {
        let model = abs_model(&dir, &dims);
        let (shape, v) = output(&ok(&dir, &["run", model, "p.png", "--json"]), "y");
        assert_eq!(shape, dims.map(|d| d as usize));
        for (x, y) in (0..6).flat_map(|x| (0..5).map(move |y| (x, y))) {
            let at = |c: usize| if planar { v[c * 30 + y * 6 + x] } else { v[(y * 6 + x) * 3 + c] };
            let [r, _, b] = pixel(x, y);
            close(at(0), r / 255.0);
            close(at(1), (255.0 - r) / 255.0);
            close(at(2), b / 255.0);
        }
    }
    // One mean for all channels, a deviation for each.
    let model = abs_model(&dir, &[1, 3, 5, 6]);
    let a = ["run", model, "p.png", "--json", "--mean", "10", "--std", "2,4,5"];
    let (_, v) = output(&ok(&dir, &a), "y");
    close(v[6 + 2], (f64::from(red(2, 1)) - 10.0).abs() / 2.0);
    close(v[30 + 6 + 2], (245.0 - f64::from(red(2, 1))).abs() / 4.0);
    close(v[60 + 6 + 2], 40.0 / 5.0);
    refused(&dir, &["run", model, "p.png", "--std", "0"], &["--std"]);
    refused(&dir, &["run", model, "p.png", "--mean", "1,2"], &["--mean takes one number or three"]);
}

#[test]
fn sizes_of_pictures() {
    let dir = scratch("sizes");
    picture(&dir);
    // A fixed size is reached by scaling, an open one is the picture's own.
    let fixed = abs_model(&dir, &[1, 3, 10, 8]);
    assert_eq!(output(&ok(&dir, &["run", fixed, "p.png", "--json"]), "y").0, [1, 3, 10, 8]);
    let open = abs_model(&dir, &[-1, 3, -1, -1]);
    assert_eq!(output(&ok(&dir, &["run", open, "p.png", "--json"]), "y").0, [1, 3, 5, 6]);
    let asked = ["run", open, "p.png", "--json", "--shape", "x=1x3x7x12"];
    assert_eq!(output(&ok(&dir, &asked), "y").0, [1, 3, 7, 12]);
    // Grey inputs get the brightness.
    let grey = abs_model(&dir, &[1, 1, 5, 6]);
    let (_, v) = output(&ok(&dir, &["run", grey, "p.png", "--json"]), "y");
    assert!(v.len() == 30 && v.iter().all(|p| (0.0..=1.0).contains(p)));
    // No picture at all, or not plainly the shape of one.
    std::fs::write(dir.join("broken.png"), "no picture").unwrap();
    refused(&dir, &["run", grey, "broken.png"], &["broken.png", "cannot read the image"]);
    let row = abs_model(&dir, &[1, 40]);
    refused(&dir, &["run", row, "p.png"], &["p.png", "not plainly an image"]);
}
