//! Kernels as data. Each kernel is `NAME.wgsl` beside `NAME.rs`: bindings, params, plain reference, gradient
//! and test cases. This crate names no GPU library; `lichen-host` runs what it describes.
//!
//! Letters: T tokens, D width, L layers, H heads, N head size, S sections of a layer, K picked,
//! E neurons of a section, V vocabulary. Shapes are written slowest axis first.

pub use bytemuck;

pub mod cases;
pub mod kernel;
pub mod packed;
mod shared {
    pub(crate) mod activation;
    pub(crate) mod order;
    pub(crate) mod packed_sections;
    pub(crate) mod sections;
}

macro_rules! kernels {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*
        /// Every kernel; tests, selftest and fuzzing walk this list.
        pub static ALL: &[&kernel::Kernel] = &[$(&$name::KERNEL),*];
    };
}

kernels! {
    rms_norm,
    embed,
    embed_packed,
    matmul,
    matmul_packed,
    quantize,
    matmul_quantized,
    conv,
    conv2d,
    slope,
    delta_inputs,
    scan,
    mcsd_slope,
    mcsd_decay,
    gate,
    add,
    router,
    router_gate,
    section_lists,
    section_up,
    section_down,
    section_up_packed,
    section_up_quantized,
    section_down_packed,
    section_sum,
    segment_mean,
    latch,
    cross_entropy,
    sample,
}

/// No section.
pub const NONE: u32 = u32::MAX;

/// Shared WGSL functions that a kernel asks for with `//!use NAME`.
pub(crate) static SNIPPETS: &[(&str, &str)] = &[
    ("activation", include_str!("shared/activation.wgsl")),
    ("half", include_str!("shared/half.wgsl")),
    ("integers", include_str!("shared/integers.wgsl")),
    ("packed", include_str!("shared/packed.wgsl")),
    ("packed_sections", include_str!("shared/packed_sections.wgsl")),
    ("section_down_tiles", include_str!("shared/section_down_tiles.wgsl")),
    ("section_up_tiles", include_str!("shared/section_up_tiles.wgsl")),
    ("order", include_str!("shared/order.wgsl")),
    ("random", include_str!("shared/random.wgsl")),
    ("sections", include_str!("shared/sections.wgsl")),
    ("sums", include_str!("shared/sums.wgsl")),
];

/// What takes the place of a snippet where a subgroup holds at least 8 neighbours.
pub(crate) static SUBGROUP_SNIPPETS: &[(&str, &str)] = &[("sums", include_str!("shared/sums_subgroup.wgsl"))];
