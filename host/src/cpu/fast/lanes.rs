//! Vector arithmetic: a function compiled once for each instruction set and chosen at run time, and the
//! elementary functions that its loops call.

/// Lanes of a sum: one AVX-512 register, two AVX2 ones, four NEON ones.
pub(super) const LANES: usize = 16;

/// Compiles a function for each vector instruction set and picks one at run time. Machines whose 512-bit units slow
/// the clock down (those without the later AVX-512 extensions) get AVX2. Inside, `FMA` says whether
/// `a * b + c` is one instruction, `WIDE` whether there are 32 registers of 512 bits, and `AVX2` whether that set's
/// conversions to floats are there; helpers that take them as const arguments must be `#[inline(always)]` and hold no closures, or those would be compiled for the baseline,
/// where a fused multiplication is a library call.
macro_rules! vector {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[multiversion::multiversion(targets(
            "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vnni+avx2+fma+f16c",
            "x86_64+avx2+fma+f16c"
        ))]
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[allow(dead_code, reason = "not every body multiplies and adds")]
            const FMA: bool =
                multiversion::target::target_cfg_f!(target_feature = "fma") || cfg!(target_arch = "aarch64");
            #[allow(dead_code, reason = "not every body blocks by registers")]
            const WIDE: bool = multiversion::target::target_cfg_f!(target_feature = "avx512f");
            #[allow(dead_code, reason = "not every body converts integers and halves")]
            const AVX2: bool =
                multiversion::target::target_cfg_f!(all(target_feature = "avx2", target_feature = "f16c"));
            $body
        }
    };
}
pub(super) use vector;

vector! {
    /// The vector instructions that this macro picks on this machine.
    fn instructions() -> &'static str {
        match (WIDE, FMA) {
            (true, _) => "AVX-512",
            (_, true) if cfg!(target_arch = "x86_64") => "AVX2",
            _ if cfg!(target_arch = "x86_64") => "SSE2",
            _ if cfg!(target_arch = "aarch64") => "NEON",
            _ if cfg!(target_feature = "simd128") => "SIMD128",
            _ => "portable",
        }
    }
}

/// `a * b + c`, fused where that is one instruction (elsewhere it would be a library call).
#[inline(always)]
pub(super) fn madd<const F: bool>(a: f32, b: f32, c: f32) -> f32 {
    if F { a.mul_add(b, c) } else { a * b + c }
}

/// Asks for the cache line at `ahead` elements after the start of `x`, which may lie outside: the hardware follows
/// a stream within a page only, and sections start anywhere.
#[inline(always)]
pub(super) fn prefetch<T>(x: *const T, ahead: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches nothing and never faults; SSE is part of the architecture.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(x.wrapping_add(ahead).cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) x.wrapping_add(ahead), options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (x, ahead);
}

/// Sum of the lanes, as a tree.
#[inline(always)]
pub(super) fn sum(mut x: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            x[i] += x[i + half];
        }
        half /= 2;
    }
    x[0]
}

/// Sum of products of three.
#[inline(always)]
pub(super) fn dot3<const F: bool>(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let whole = a.len() / LANES * LANES;
    for i in (0..whole).step_by(LANES) {
        let (a, b, c) = (&a[i..i + LANES], &b[i..i + LANES], &c[i..i + LANES]);
        for l in 0..LANES {
            lanes[l] = madd::<F>(a[l] * b[l], c[l], lanes[l]);
        }
    }
    for i in whole..a.len() {
        lanes[i - whole] += a[i] * b[i] * c[i];
    }
    sum(lanes)
}

/// Dot product.
#[inline(always)]
pub(super) fn dot<const F: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (ra, rb) = (ca.remainder(), cb.remainder());
    for (a, b) in ca.zip(cb) {
        for l in 0..LANES {
            lanes[l] = madd::<F>(a[l], b[l], lanes[l]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(ra).zip(rb) {
        *lane = madd::<F>(a, b, *lane);
    }
    sum(lanes)
}

/// `y += a * x`.
#[inline(always)]
pub(super) fn axpy<const F: bool>(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = madd::<F>(a, x, *y);
    }
}

/// `e^x` to about 1 ulp; saturates near `1e-38` and `2e38`, keeps NaN. Cephes' expf without branches.
#[inline(always)]
#[allow(clippy::excessive_precision, clippy::manual_clamp, reason = "the published digits; clamp would branch on NaN")]
pub(super) fn exp<const F: bool>(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let x = if x > 88.37 { 88.37 } else { x };
    let x = if x < -87.33 { -87.33 } else { x };
    let t = madd::<F>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    let r = madd::<F>(n, -0.693_359_375, x);
    let r = madd::<F>(n, 2.121_944_4e-4, r);
    (small_exp_m1::<F>(r) + 1.0) * f32::from_bits((t.to_bits() << 23).wrapping_add(127 << 23))
}

/// `e^r - 1` to about 1 ulp for r within half of ln 2.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "the published digits")]
pub(super) fn small_exp_m1<const F: bool>(r: f32) -> f32 {
    let mut p = 1.987_569_15e-4;
    for c in [1.398_199_950_7e-3, 8.333_451_907_3e-3, 4.166_579_589_4e-2, 1.666_666_545_9e-1, 5.000_000_120_1e-1] {
        p = madd::<F>(p, r, c);
    }
    madd::<F>(p * r, r, r)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<const F: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<F>(-x))
}
