//! Tests on whatever adapter this machine has, software ones too; without one they say so and pass.

use crate::buffer::{Buffer, Role};
use crate::device::{Choice, Device};
use crate::error::HostError;
use crate::gpu::{AdapterReport, Gpu};
use crate::recording::Recording;
use crate::selftest::selftest;
use crate::{Cpu, adapters};
use lichen_shaders::kernel::{Call, Kernel, Kind};
use lichen_shaders::rms_norm;
use pollster::block_on;

fn gpu() -> Option<Device> {
    match block_on(Gpu::open(&Choice::Gpu)) {
        Ok(gpu) => Some(Device::Gpu(gpu)),
        Err(HostError::NoAdapter { found, .. }) => {
            println!("skipped: no adapter, found {found}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn norm(width: u32) -> Call {
    rms_norm::call(rms_norm::Params { rows: 1, width, gains: 1, eps: 1e-6 })
}

fn real(label: &str, role: Role, len: usize) -> Buffer {
    Buffer::new(label, Kind::Real, role, len)
}

#[test]
fn every_kernel_passes_in_every_variant() {
    let Some(device) = gpu() else { return };
    check_kernels(&device);
    // The texts for adapters that have less.
    let less = |report: &mut AdapterReport| report.subgroup = 0;
    check_kernels(&Device::Gpu(block_on(Gpu::open_as(&Choice::Gpu, |_| None, less)).unwrap()));
}

fn check_kernels(device: &Device) {
    println!("{}: {:?}", device.name(), device.traits());
    let reports = block_on(selftest(device, None, |r| {
        println!(
            "{:14} {:10} {:3} cases, worst {:.1e} {}",
            r.kernel,
            r.variant,
            r.cases,
            r.worst_error,
            r.failure.as_deref().unwrap_or("ok")
        );
    }));
    let failures: Vec<_> =
        reports.iter().filter_map(|r| Some(format!("{} {}: {}", r.kernel, r.variant, r.failure.as_ref()?))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_recording_runs_in_order_many_times_over_views() {
    let Some(device) = gpu() else { return };
    let cpu = Device::Cpu(Cpu::new(1));
    let (a, b, gain) = (real("a", Role::State, 256), real("b", Role::Scratch, 128), real("gain", Role::Weight, 64));
    let mut recording = Recording::new("ping-pong");
    // a[64..] -> b -> a[64..], which must leave a's other elements alone.
    recording.push(norm(40), &[a.slice(64, 40), gain.slice(0, 40), b.slice(64, 40)]).unwrap();
    recording.push(norm(40), &[b.slice(64, 40), gain.slice(0, 40), a.slice(64, 40)]).unwrap();
    let start: Vec<f32> = (0..256).map(|i| (i as f32 * 0.37).sin() + 0.1).collect();
    let mut results = Vec::new();
    for device in [&cpu, &device] {
        device.write(&a.view(), &start).unwrap();
        device.write(&gain.view(), &[1.5f32; 64]).unwrap();
        // More dispatches than one submission takes.
        device.run(&recording, 700).unwrap();
        device.run(&recording, 0).unwrap();
        results.push(block_on(device.read::<f32>(&a.view())).unwrap());
    }
    assert_eq!(results[1][..64], start[..64]);
    assert_eq!(results[1][104..], start[104..]);
    for (c, g) in results[0].iter().zip(&results[1]) {
        assert!((c - g).abs() < 1e-4, "{c} {g}");
    }
    assert_eq!(block_on(device.read::<f32>(&b.slice(0, 64))).unwrap(), [0.0; 64], "memory starts as zeros");
    assert!(block_on(device.read::<f32>(&b.slice(0, 0))).unwrap().is_empty());
}

#[test]
fn weights_must_be_written() {
    let Some(device) = gpu() else { return };
    let (x, gain, y) = (real("x", Role::Scratch, 8), real("gain", Role::Weight, 8), real("y", Role::Scratch, 8));
    let mut recording = Recording::new("unwritten");
    recording.push(norm(8), &[x.view(), gain.view(), y.view()]).unwrap();
    assert!(matches!(device.run(&recording, 1), Err(HostError::Unwritten { label, .. }) if label == "gain"));
    assert!(matches!(block_on(device.read::<f32>(&gain.view())), Err(HostError::Unwritten { .. })));
    device.write(&gain.view(), &[1.0f32; 8]).unwrap();
    device.run(&recording, 1).unwrap();
}

#[test]
fn too_large_a_buffer_is_out_of_memory() {
    let Some(device) = gpu() else { return };
    let huge = real("huge", Role::State, usize::MAX / 16);
    let error = device.write(&huge.slice(0, 4), &[0f32; 4]).unwrap_err();
    assert!(matches!(&error, HostError::OutOfMemory { label, .. } if label == "huge"), "{error}");
}

/// `rms_norm` with another text.
fn altered(wgsl: &'static str) -> &'static Kernel {
    let k = &rms_norm::KERNEL;
    Box::leak(Box::new(Kernel {
        name: "altered",
        wgsl,
        fields: k.fields,
        bindings: k.bindings,
        lengths: k.lengths,
        variants: k.variants,
        constants: k.constants,
        choose: k.choose,
        reference: k.reference,
        truth: k.truth,
        backward: k.backward,
        tolerance: k.tolerance,
        cases: k.cases,
    }))
}

#[test]
fn a_kernel_that_does_not_compile_is_an_error_each_time() {
    let Some(device) = gpu() else { return };
    let (x, gain, y) = (real("x", Role::State, 8), real("gain", Role::State, 8), real("y", Role::State, 8));
    for wgsl in ["fn main(", "@compute @workgroup_size(1) fn other() {}", "@compute @workgroup_size(9999) fn main() {}"]
    {
        let kernel = altered(wgsl);
        let mut recording = Recording::new("broken");
        recording.push(Call { kernel, ..norm(8) }, &[x.view(), gain.view(), y.view()]).unwrap();
        for _ in 0..2 {
            let error = device.run(&recording, 1).unwrap_err();
            assert!(matches!(&error, HostError::Driver { message, .. } if message.contains("altered")), "{error}");
        }
    }
    let mut recording = Recording::new("sound");
    recording.push(norm(8), &[x.view(), gain.view(), y.view()]).unwrap();
    device.run(&recording, 1).unwrap();
}

#[test]
fn a_lost_device_says_so_from_then_on() {
    let Some(device) = gpu() else { return };
    let (x, gain, y) = (real("x", Role::State, 8), real("gain", Role::State, 8), real("y", Role::State, 8));
    let mut recording = Recording::new("lost");
    recording.push(norm(8), &[x.view(), gain.view(), y.view()]).unwrap();
    device.run(&recording, 1).unwrap();
    let Device::Gpu(gpu) = &device else { panic!("opened as a GPU") };
    gpu.lose();
    for _ in 0..2 {
        assert!(matches!(device.write(&x.view(), &[0f32; 8]), Err(HostError::DeviceLost { .. })));
        assert!(matches!(device.run(&recording, 1), Err(HostError::DeviceLost { .. })));
        assert!(matches!(block_on(device.read::<f32>(&y.view())), Err(HostError::DeviceLost { .. })));
    }
}

/// Runs a recording of one norm, prepared or not, and reads what it wrote.
fn normed(device: &Device, prepare: bool) -> Vec<f32> {
    let (x, gain, y) = (real("x", Role::State, 96), real("gain", Role::Weight, 96), real("y", Role::State, 96));
    let mut recording = Recording::new("normed");
    recording.push(norm(96), &[x.view(), gain.view(), y.view()]).unwrap();
    if prepare {
        assert!(matches!(device.prepare(&recording), Err(HostError::Unwritten { .. })), "the gains are not there yet");
    }
    device.write(&gain.view(), &[0.5f32; 96]).unwrap();
    for _ in 0..if prepare { 2 } else { 0 } {
        device.prepare(&recording).unwrap();
    }
    // Written after the preparation, which must not have fixed what it found.
    device.write(&x.view(), &(0..96).map(|i| (i as f32).cos()).collect::<Vec<_>>()).unwrap();
    device.run(&recording, 1).unwrap();
    block_on(device.read::<f32>(&y.view())).unwrap()
}

#[test]
fn prepared_recordings_run_the_same() {
    let cpu = Device::cpu(1);
    assert_eq!(normed(&cpu, true), normed(&cpu, false));
    let Some(device) = gpu() else { return };
    let Device::Gpu(opened) = &device else { panic!("opened as a GPU") };
    let (plain, count) = (normed(&device, false), opened.lock().prepared.len());
    let fresh = gpu().unwrap();
    assert_eq!(normed(&fresh, true), plain);
    let Device::Gpu(opened) = &fresh else { panic!("opened as a GPU") };
    assert_eq!(opened.lock().prepared.len(), count, "preparing and running share what they make");
    opened.lose();
    let recording = Recording::new("lost");
    assert!(matches!(fresh.prepare(&recording), Err(HostError::DeviceLost { .. })));
    assert!(fresh.pipeline_cache().is_none());
}

#[test]
fn a_broken_kernel_is_refused_when_it_is_prepared() {
    let Some(device) = gpu() else { return };
    let (x, gain, y) = (real("x", Role::State, 8), real("gain", Role::State, 8), real("y", Role::State, 8));
    let mut recording = Recording::new("broken");
    recording.push(Call { kernel: altered("fn main("), ..norm(8) }, &[x.view(), gain.view(), y.view()]).unwrap();
    assert!(matches!(device.prepare(&recording), Err(HostError::Driver { .. })));
}

#[test]
fn pipelines_of_one_device_open_another() {
    for adapter in block_on(adapters()) {
        let choice = Choice::Named(adapter.index.to_string());
        let open = |bytes: Option<Vec<u8>>| {
            let opened = block_on(Device::open_with(&choice, 1, |key| {
                assert!(!key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{key}");
                bytes.clone()
            }));
            opened.unwrap().0
        };
        let first = open(None);
        let want = normed(&first, true);
        let kept = first.pipeline_cache();
        let Some((key, bytes)) = &kept else {
            println!("{adapter} does not give out its pipelines");
            assert_eq!(normed(&open(Some(vec![1; 100])), true), want);
            continue;
        };
        println!("{adapter}: {key}, {} bytes", bytes.len());
        let second = open(Some(bytes.clone()));
        assert_eq!(normed(&second, true), want);
        assert_eq!(second.pipeline_cache().map(|(key, _)| key).as_ref(), Some(key));

        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x40;
        let garbage = [Vec::new(), vec![0; 7], vec![0xA5; 5000], bytes[..bytes.len() - 1].to_vec(), flipped];
        for bytes in garbage {
            let device = open(Some(bytes));
            assert_eq!(normed(&device, true), want);
            assert!(device.pipeline_cache().is_some(), "a new cache takes the place of garbage");
        }
    }
}

#[test]
fn data_of_another_adapter_or_driver_is_no_failure() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(first) = &device else { panic!("opened as a GPU") };
    let Some((key, bytes)) = first.pipeline_cache() else { return println!("the adapter has no pipeline cache") };
    // wgpu's head: 8 bytes of its name, 8 of version and word size, 8 of adapter, 16 of driver. Sealed anew, so that
    // wgpu sees it.
    for at in [0, 9, 20, 30] {
        let mut data = bytes[32..].to_vec();
        data[at] ^= 1;
        let sealed = super::cache::sealed(&key, &data);
        let device = Device::Gpu(block_on(Gpu::open_with(&Choice::Gpu, |_| Some(sealed.clone()))).unwrap());
        assert_eq!(normed(&device, true), normed(&device, false));
        assert!(device.pipeline_cache().is_some());
    }
}

#[test]
fn memory_of_dropped_buffers_is_given_back() {
    let Some(device) = gpu() else { return };
    let Device::Gpu(gpu) = &device else { panic!("opened as a GPU") };
    for i in 0..40 {
        let buffer = real("short-lived", Role::State, 1 << 20);
        device.write(&buffer.slice(0, 1), &[i as f32]).unwrap();
    }
    let kept = gpu.lock().memory.count();
    assert!(kept < 8, "{kept} buffers of 4 MiB are still there");
}

#[test]
fn adapters_and_choices_agree() {
    let all = block_on(adapters());
    let (device, note) = block_on(Device::open(&Choice::Auto, 1)).unwrap();
    if all.iter().all(|a| a.software) {
        assert!(device.is_cpu() && note.is_some_and(|n| n.contains("CPU")));
    }
    let error = block_on(Device::open(&Choice::from("no such adapter"), 1)).err().unwrap().to_string();
    assert!(error.contains("no such adapter") && all.iter().all(|a| error.contains(&a.name)), "{error}");
    for adapter in &all {
        let (device, note) = block_on(Device::open(&Choice::Named(adapter.index.to_string()), 1)).unwrap();
        assert!(device.name().contains(&adapter.name));
        assert_eq!(note.is_some(), adapter.software);
    }
}
