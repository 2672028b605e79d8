//! A small deterministic generator: the same kernels on every machine and in every run.

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    /// In `lo..=hi`.
    pub fn within(&mut self, lo: i64, hi: i64) -> i64 {
        lo + self.below((hi - lo + 1) as usize) as i64
    }
    /// True once in `n`.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    /// One of a list.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
    /// An integer that is often at an edge.
    pub fn int(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => self.pick(&[
                1,
                -1,
                i64::MIN,
                i64::MAX,
                i64::from(i32::MIN),
                i64::from(i32::MAX),
                127,
                -128,
                255,
            ]),
            2 | 3 => self.within(-9, 9),
            _ => self.next() as i64 >> self.below(60),
        }
    }
    /// A float that is often special.
    pub fn float(&mut self) -> f64 {
        match self.below(6) {
            0 => self.pick(&[
                0.0,
                -0.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                1e30,
                -1e30,
                0.5,
                2.5,
                -2.5,
                1e-42,
            ]),
            1 => self.within(-20, 20) as f64 / 2.0,
            2 => self.pick(&[
                2147483647.0,
                2147483648.0,
                -2147483649.0,
                4294967295.0,
                4294967296.0,
                9.3e18,
                -9.3e18,
                1.9e19,
            ]),
            _ => (self.next() as i64 as f64) / 1e18,
        }
    }
}
