//! A keyword spotter like DS-CNN: one convolution of a 49 x 10 spectrogram, four depthwise and pointwise ones of 64
//! channels, mean, 12 classes. Weights are random; as floats, or of bytes with QuantizeLinear and DequantizeLinear.

use crate::common::model::{encode, int, ints, node, port};
use sinter::frontend::onnx::proto::{GraphProto, NodeProto, TensorProto};
use sinter_ir::{DType, Tensor};

const CHANNELS: usize = 64;
const CLASSES: usize = 12;
const FLOAT: i32 = 1;
const INT8: i32 = 3;

/// Evenly distributed between -1 and 1, the same each time.
fn random(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        s = s.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (s >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A spectrogram.
pub fn input() -> Tensor {
    let values = random(490, 99);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(DType::F32, vec![1, 1, 49, 10], bytes).unwrap()
}

/// A network under construction.
pub struct Net {
    graph: GraphProto,
    bytes: bool,
    seed: u64,
}

impl Net {
    /// Nothing yet; `bytes`: of bytes.
    pub fn new(name: &str, bytes: bool) -> Self {
        let graph = GraphProto { name: name.into(), ..GraphProto::default() };
        Self { graph, bytes, seed: 7 }
    }
    /// The file: mean over all points, classes, their shares.
    pub fn finish(mut self, x: &str, channels: usize, input: &[usize]) -> Vec<u8> {
        self.push(node("GlobalAveragePool", &[x], "mean"));
        self.push(node("Flatten", &["mean"], "flat"));
        let flat = self.rounded("flat", 2.0 / 255.0, -128);
        let (w, b) = self.weights("classes", &[CLASSES, channels]);
        self.push(int(node("Gemm", &[&flat, &w, &b], "logits"), "transB", 1));
        self.push(node("Softmax", &["logits"], "y"));
        self.graph.input.push(port("x", FLOAT, Some(input)));
        self.graph.output.push(port("y", FLOAT, Some(&[1, CLASSES])));
        encode(self.graph, 17)
    }
    fn constant(&mut self, name: &str, dims: &[usize], values: &[f32]) {
        let dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
        self.graph.initializer.push(TensorProto {
            name: name.into(),
            data_type: FLOAT,
            dims,
            float_data: values.to_vec(),
            ..Default::default()
        });
    }
    fn push(&mut self, n: NodeProto) {
        self.graph.node.push(n);
    }
    /// A value through bytes, where the net is of bytes.
    pub fn rounded(&mut self, x: &str, scale: f32, zero: i32) -> String {
        if !self.bytes {
            return x.to_owned();
        }
        let (s, z, q, d) = (format!("{x}_s"), format!("{x}_z"), format!("{x}_q"), format!("{x}_d"));
        self.constant(&s, &[], &[scale]);
        self.byte(&z, &[], vec![zero]);
        self.push(node("QuantizeLinear", &[x, &s, &z], &q));
        self.push(node("DequantizeLinear", &[&q, &s, &z], &d));
        d
    }
    fn byte(&mut self, name: &str, dims: &[usize], values: Vec<i32>) {
        let dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
        let t = TensorProto {
            name: name.into(),
            data_type: INT8,
            dims,
            int32_data: values,
            ..Default::default()
        };
        self.graph.initializer.push(t);
    }
    /// Weights, and a bias; as bytes with one scale per row of the first axis where the net is of bytes.
    fn weights(&mut self, name: &str, dims: &[usize]) -> (String, String) {
        let (rows, fan) = (dims[0], dims[1..].iter().product::<usize>());
        self.seed += 2;
        let spread = (3.0 / fan as f32).sqrt() * 1.3;
        let values: Vec<f32> = random(rows * fan, self.seed).iter().map(|v| v * spread).collect();
        let bias: Vec<f32> = random(rows, self.seed + 1).iter().map(|v| v * 0.1).collect();
        let (w, b) = (format!("{name}_w"), format!("{name}_b"));
        if !self.bytes {
            self.constant(&w, dims, &values);
            self.constant(&b, &[rows], &bias);
            return (w, b);
        }
        let scale = spread / 127.0;
        let codes = values.iter().map(|v| (v / scale).round() as i32).collect();
        let (q, s, z) = (format!("{w}_q"), format!("{w}_s"), format!("{w}_z"));
        self.byte(&q, dims, codes);
        self.byte(&z, &[rows], vec![0; rows]);
        self.constant(&s, &[rows], &vec![scale; rows]);
        self.push(int(node("DequantizeLinear", &[&q, &s, &z], &w), "axis", 0));
        self.constant(&b, &[rows], &bias);
        (w, b)
    }
    /// A convolution with its activation.
    pub fn conv(
        &mut self,
        x: &str,
        name: &str,
        dims: [usize; 4],
        stride: i64,
        pads: [i64; 4],
        group: i64,
    ) -> String {
        let (w, b) = self.weights(name, &dims);
        let (sum, y) = (format!("{name}_sum"), format!("{name}_y"));
        let n = ints(node("Conv", &[x, &w, &b], &sum), "pads", &pads);
        let n = int(ints(n, "strides", &[stride, stride]), "group", group);
        self.push(n);
        self.push(node("Relu", &[&sum], &y));
        self.rounded(&y, 4.0 / 255.0, -128)
    }
}

/// The model as a file.
pub fn model(bytes: bool) -> Vec<u8> {
    let mut net = Net::new("kws", bytes);
    let x = net.rounded("x", 1.0 / 127.0, 0);
    let mut x = net.conv(&x, "first", [CHANNELS, 1, 10, 4], 2, [4, 1, 5, 1], 1);
    for i in 0..4 {
        x = net.conv(&x, &format!("depth{i}"), [CHANNELS, 1, 3, 3], 1, [1; 4], CHANNELS as i64);
        x = net.conv(&x, &format!("point{i}"), [CHANNELS, CHANNELS, 1, 1], 1, [0; 4], 1);
    }
    net.finish(&x, CHANNELS, &[1, 1, 49, 10])
}

/// Numbers for an image.
pub fn image() -> Tensor {
    let values = random(96 * 96, 5);
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::from_bytes(DType::F32, vec![1, 1, 96, 96], bytes).unwrap()
}

/// A network of bytes over a square image, whose first values take 16 bytes a point: 147 KB of 96 x 96, which is more than
/// many chips have.
pub fn wide_first(side: usize) -> Vec<u8> {
    let mut net = Net::new("images", true);
    let x = net.rounded("x", 1.0 / 127.0, 0);
    let x = net.conv(&x, "wide", [16, 1, 3, 3], 1, [1; 4], 1);
    let x = net.conv(&x, "depth", [16, 1, 3, 3], 2, [1; 4], 16);
    let x = net.conv(&x, "narrow", [8, 16, 1, 1], 1, [0; 4], 1);
    let x = net.conv(&x, "down", [32, 8, 3, 3], 2, [1; 4], 1);
    let x = net.conv(&x, "last", [CHANNELS, 32, 3, 3], 2, [1; 4], 1);
    net.finish(&x, CHANNELS, &[1, 1, side, side])
}
