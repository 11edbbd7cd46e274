//! The WGSL and the Rust half of every kernel describe the same thing, within WebGPU's default limits, and every
//! target that wgpu translates to accepts it. Needs no GPU.

use lichen_shaders::ALL;
use lichen_shaders::cases::vacuous;
use lichen_shaders::kernel::{Access, Kernel, Kind, Traits};
use lichen_tests::report;
use naga::back::{hlsl, msl, pipeline_constants::process_overrides, spv, wgsl};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, ArraySize, Module, ScalarKind, ShaderStage, StorageAccess, TypeInner};
use std::collections::HashSet;

/// One less than WebGPU's default, so that a target may add a buffer of its own (Metal's array lengths).
const STORAGE_BUFFERS: usize = 7;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;
const WORKGROUPS: u32 = 65535;

const PLAIN: Traits = Traits { software: false, subgroup: 0, browser: false };
const SUBGROUPS: Traits = Traits { subgroup: 8, ..PLAIN };

/// Overrides and their values.
type Constants = Vec<(&'static str, u32)>;

/// Parsed and validated as plain WGSL: no f16, no subgroups, nothing beyond WebGPU's defaults.
fn compile(source: &str, constants: &Constants) -> Result<(Module, ModuleInfo), String> {
    compile_with(source, constants, Capabilities::empty())
}

fn compile_with(source: &str, constants: &Constants, can: Capabilities) -> Result<(Module, ModuleInfo), String> {
    let module = naga::front::wgsl::parse_str(source).map_err(|e| e.emit_to_string(source))?;
    let info = Validator::new(ValidationFlags::all(), can)
        .subgroup_stages(ShaderStages::COMPUTE)
        .subgroup_operations(SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|e| e.emit_to_string(source))?;
    let values = constants.iter().map(|(name, value)| (name.to_string(), f64::from(*value))).collect();
    let (module, info) = process_overrides(&module, &info, None, &values).map_err(|e| e.to_string())?;
    Ok((module.into_owned(), info.into_owned()))
}

/// The constants under which the kernel's cases run, each set once.
fn constants(kernel: &'static Kernel) -> Vec<Constants> {
    let mut all: Vec<Constants> = (kernel.cases)(kernel).iter().map(|case| (kernel.constants)(&case.params)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// What the WGSL declares that the kernel does not, and the other way round.
fn interface(kernel: &'static Kernel, source: &str) -> Vec<String> {
    let constants = constants(kernel).swap_remove(0);
    let (module, info) = match compile(source, &constants) {
        Ok(compiled) => compiled,
        Err(error) => return vec![format!("{}: {error}", kernel.name)],
    };
    let mut problems = Vec::new();
    let mut wrong = |what: String| problems.push(format!("{}: {what}", kernel.name));

    // Those that no entry point uses are gone from the compiled module.
    let parsed = naga::front::wgsl::parse_str(source).unwrap_or_default();
    let mut overrides: Vec<&str> = parsed.overrides.iter().filter_map(|(_, o)| o.name.as_deref()).collect();
    let mut named: Vec<&str> = constants.iter().map(|(name, _)| *name).collect();
    overrides.sort_unstable();
    named.sort_unstable();
    if overrides != named {
        wrong(format!("overrides {overrides:?} in WGSL, constants {named:?} in Rust"));
    }
    if kernel.bindings.len() > STORAGE_BUFFERS {
        wrong(format!("{} storage buffers, {STORAGE_BUFFERS} allowed", kernel.bindings.len()));
    }
    let bound = |binding: usize| {
        let at = |r: &naga::ResourceBinding| r.group == 0 && r.binding as usize == binding;
        module.global_variables.iter().map(|(_, v)| v).find(|v| v.binding.as_ref().is_some_and(at))
    };
    let count = module.global_variables.iter().filter(|(_, v)| v.binding.is_some()).count();
    if count != kernel.bindings.len() + 1 {
        wrong(format!("{count} bindings in WGSL, {} and Params in Rust", kernel.bindings.len()));
    }
    for (i, binding) in kernel.bindings.iter().enumerate() {
        let Some(variable) = bound(i) else {
            wrong(format!("no @binding({i}) for {}", binding.name));
            continue;
        };
        if variable.name.as_deref() != Some(binding.name) {
            wrong(format!("@binding({i}) is {:?}, should be {}", variable.name, binding.name));
        }
        let access = match binding.access {
            Access::Read => StorageAccess::LOAD,
            Access::ReadWrite | Access::Write => StorageAccess::LOAD | StorageAccess::STORE,
        };
        if variable.space != (AddressSpace::Storage { access }) {
            wrong(format!("{} is in {:?}, should be storage with {access:?}", binding.name, variable.space));
        }
        let element = match module.types[variable.ty].inner {
            TypeInner::Array { base, size: ArraySize::Dynamic, .. } => module.types[base].inner.scalar(),
            _ => None,
        };
        if !element.is_some_and(|s| s.kind == scalar(binding.kind) && s.width == 4) {
            wrong(format!("{} is not a runtime-sized array of {:?}", binding.name, scalar(binding.kind)));
        }
    }
    params(kernel, &module, bound(kernel.bindings.len()), &mut wrong);

    let used: HashSet<&str> = kernel.variants.iter().flat_map(|v| v.passes).map(|p| p.entry).collect();
    for name in &used {
        if !module.entry_points.iter().any(|e| e.name == *name && e.stage == ShaderStage::Compute) {
            wrong(format!("no compute entry point {name}"));
        }
    }
    for (i, entry) in module.entry_points.iter().enumerate() {
        if !used.contains(entry.name.as_str()) {
            wrong(format!("entry point {} belongs to no variant", entry.name));
        }
        let [x, y, z] = entry.workgroup_size;
        if x * y * z > INVOCATIONS || z > 64 {
            wrong(format!("{}: {x}x{y}x{z} invocations, {INVOCATIONS} allowed", entry.name));
        }
        let shared = module
            .global_variables
            .iter()
            .filter(|(handle, v)| v.space == AddressSpace::WorkGroup && !info.get_entry_point(i)[*handle].is_empty());
        // WebGPU counts every variable rounded up to 16 bytes.
        let bytes: u32 = shared.map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()).next_multiple_of(16)).sum();
        if bytes > WORKGROUP_BYTES {
            wrong(format!("{}: {bytes} bytes of workgroup memory, {WORKGROUP_BYTES} allowed", entry.name));
        }
    }
    problems
}

fn params(kernel: &Kernel, module: &Module, variable: Option<&naga::GlobalVariable>, wrong: &mut impl FnMut(String)) {
    let Some(variable) = variable else {
        return wrong(format!("no @binding({}) for Params", kernel.bindings.len()));
    };
    let ty = &module.types[variable.ty];
    let TypeInner::Struct { members, .. } = &ty.inner else {
        return wrong("the last binding is not a struct".into());
    };
    if variable.space != AddressSpace::Uniform || ty.name.as_deref() != Some("Params") {
        wrong("the last binding is not `var<uniform> NAME: Params`".into());
    }
    if members.len() != kernel.fields.len() {
        wrong(format!("Params has {} members in WGSL, {} in Rust", members.len(), kernel.fields.len()));
    }
    for (i, (member, field)) in members.iter().zip(kernel.fields).enumerate() {
        if member.name.as_deref() != Some(field.name) {
            wrong(format!("member {i} of Params is {:?}, should be {}", member.name, field.name));
        }
        let ok = matches!(module.types[member.ty].inner, TypeInner::Scalar(s) if s.kind == scalar(field.kind) && s.width == 4);
        if !ok || member.offset as usize != i * 4 {
            wrong(format!("member {} of Params is not {:?} at {}", field.name, scalar(field.kind), i * 4));
        }
    }
}

fn scalar(kind: Kind) -> ScalarKind {
    match kind {
        Kind::Real => ScalarKind::Float,
        Kind::Index => ScalarKind::Uint,
    }
}

#[test]
fn wgsl_and_rust_agree() {
    report(&ALL.iter().flat_map(|k| interface(k, &k.source(PLAIN))).collect::<Vec<_>>());
}

/// The check above is worth something only if it sees each kind of disagreement.
#[test]
fn disagreements_are_seen() {
    let kernel = &lichen_shaders::rms_norm::KERNEL;
    let faults = [
        ("var<workgroup>", "override rate: u32 = 1u;\nvar<workgroup>", "overrides [\"rate\"]"),
        ("var<storage, read> gain", "var<storage, read_write> gain", "gain is in"),
        ("gain", "grain", "@binding(1)"),
        ("gain: array<f32>", "gain: array<u32>", "gain"),
        ("@binding(3)", "@binding(4)", "no @binding(3)"),
        ("    width: u32,\n    gains: u32,", "    gains: u32,\n    width: u32,", "member 1"),
        ("    gains: u32,", "    gains: i32,", "gains"),
        ("    eps: f32,", "    @size(8) rest: u32, eps: f32,", "Params"),
        ("fn serial", "fn serially", "no compute entry point serial"),
        ("@workgroup_size(64)", "@workgroup_size(512)", "512x1x1"),
        ("array<f32, 64>", "array<f32, 4097>", "workgroup memory"),
        ("var sum = 0.0;", "var sum = subgroupAdd(0.0);", "rms_norm"),
        ("var sum = 0.0;", "var sum = f32(1.0h);", "rms_norm"),
    ];
    for (from, to, expected) in faults {
        let source = kernel.source(PLAIN);
        assert!(source.contains(from), "the fault \"{from}\" is not in the WGSL any more");
        let problems = interface(kernel, &source.replace(from, to));
        assert!(problems.iter().any(|p| p.contains(expected)), "{to}: {problems:?} does not say {expected}");
    }
}

#[test]
fn every_target_accepts_it() {
    let mut problems = Vec::new();
    for kernel in ALL {
        for (constants, traits) in constants(kernel).into_iter().flat_map(|c| [(c.clone(), PLAIN), (c, SUBGROUPS)]) {
            let can = if traits == PLAIN { Capabilities::empty() } else { Capabilities::SUBGROUP };
            match compile_with(&kernel.source(traits), &constants, can) {
                Err(error) => problems.push(format!("{} with {constants:?}, {traits:?}: {error}", kernel.name)),
                Ok((module, info)) => {
                    for (target, result) in [
                        ("SPIR-V", to_spirv(&module, &info)),
                        ("MSL", to_msl(&module, &info)),
                        ("HLSL", to_hlsl(&module, &info)),
                        ("WGSL", to_wgsl(&module, &info, can)),
                    ] {
                        problems.extend(
                            result.err().map(|e| format!("{} with {constants:?} to {target}: {e}", kernel.name)),
                        );
                    }
                }
            }
        }
    }
    report(&problems);
}

fn to_spirv(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    for entry in &module.entry_points {
        let pipeline = spv::PipelineOptions { shader_stage: entry.stage, entry_point: entry.name.clone() };
        let words =
            spv::write_vec(module, info, &spv::Options::default(), Some(&pipeline)).map_err(|e| e.to_string())?;
        (words.first() == Some(&0x0723_0203)).then_some(()).ok_or("no SPIR-V header")?;
    }
    Ok(())
}

fn to_msl(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let options = msl::Options { lang_version: (2, 0), ..Default::default() };
    let (_, names) = msl::write_string(module, info, &options, &Default::default()).map_err(|e| e.to_string())?;
    names.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
}

fn to_hlsl(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
    let mut text = String::new();
    let written =
        hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map_err(|e| e.to_string())?;
    written.entry_point_names.into_iter().try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
}

fn to_wgsl(module: &Module, info: &ModuleInfo, can: Capabilities) -> Result<(), String> {
    let text = wgsl::write_string(module, info, wgsl::WriterFlags::empty()).map_err(|e| e.to_string())?;
    compile_with(&text, &Vec::new(), can).map(drop)
}

#[test]
fn names_are_unique() {
    let mut problems = Vec::new();
    let mut unique = |what: &str, names: Vec<String>| {
        let mut seen = HashSet::new();
        problems
            .extend(names.into_iter().filter(|n| !seen.insert(n.clone())).map(|n| format!("{what} {n} appears twice")));
    };
    unique("kernel", ALL.iter().map(|k| k.name.to_string()).collect());
    for kernel in ALL {
        unique(&format!("{}: binding", kernel.name), kernel.bindings.iter().map(|b| b.name.to_string()).collect());
        unique(&format!("{}: variant", kernel.name), kernel.variants.iter().map(|v| v.name.to_string()).collect());
        unique(&format!("{}: case", kernel.name), (kernel.cases)(kernel).into_iter().map(|c| c.name).collect());
    }
    report(&problems);
}

/// A kernel's snippets exist and are not pulled in for nothing.
#[test]
fn snippets_are_used() {
    let mut problems = Vec::new();
    for kernel in ALL {
        for name in kernel.wgsl.lines().filter_map(|l| l.strip_prefix("//!use ")).map(str::trim) {
            let one = Kernel { wgsl: Box::leak(format!("//!use {name}\n").into_boxed_str()), ..**kernel };
            let snippet = one.source(PLAIN);
            let functions: Vec<&str> =
                snippet.lines().filter_map(|l| l.strip_prefix("fn ")?.split('(').next()).collect();
            if functions.is_empty() {
                problems.push(format!("{}: there is no snippet {name}", kernel.name));
            }
            // Another snippet may be the caller.
            let rest = kernel.source(PLAIN).replace(snippet.trim_start_matches(one.wgsl), "");
            if !functions.iter().any(|f| rest.contains(&format!("{f}("))) {
                problems.push(format!("{}: calls nothing of snippet {name}", kernel.name));
            }
        }
    }
    report(&problems);
}

#[test]
fn cases_are_runnable_and_say_something() {
    let mut problems = Vec::new();
    for kernel in ALL {
        let cases = (kernel.cases)(kernel);
        if cases.is_empty() {
            problems.push(format!("{}: no cases", kernel.name));
        }
        for case in cases {
            let mut wrong = |what: String| problems.push(format!("{}.{}: {what}", kernel.name, case.name));
            let lengths = (kernel.lengths)(&case.params);
            for ((binding, data), length) in kernel.bindings.iter().zip(&case.before).zip(&lengths) {
                if data.len() != *length || data.is_empty() {
                    wrong(format!("{} holds {} of {length} elements", binding.name, data.len()));
                }
            }
            for variant in kernel.variants {
                for pass in variant.passes {
                    let groups = (pass.workgroups)(&case.params);
                    if groups.iter().any(|&g| g == 0 || g > WORKGROUPS) {
                        wrong(format!("{}.{}: {groups:?} workgroups", variant.name, pass.entry));
                    }
                }
            }
            for software in [false, true] {
                let chosen = (kernel.choose)(&case.params, Traits { software, ..PLAIN });
                if chosen >= kernel.variants.len() {
                    wrong(format!("variant {chosen} of {} chosen", kernel.variants.len()));
                }
            }
            if vacuous(kernel, &case, &case.truth(kernel)) {
                wrong("its reference writes nothing but zeros".into());
            }
        }
    }
    report(&problems);
}
