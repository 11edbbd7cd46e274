//! A recording refuses what no device could run, with an error that names the kernel and the binding.

use lichen_host::{Buffer, Cpu, Device, HostError, Recording, Role, View};
use lichen_shaders::kernel::{Call, Kind};
use lichen_shaders::rms_norm::{self, Params};

const PARAMS: Params = Params { rows: 4, width: 32, gains: 2, eps: 1e-6 };

fn call() -> Call {
    rms_norm::call(PARAMS)
}
fn real(label: &str, len: usize) -> Buffer {
    Buffer::new(label, Kind::Real, Role::Scratch, len)
}
/// x, gain and y as the kernel wants them.
fn right() -> [View; 3] {
    [real("x", 128).view(), real("gain", 64).view(), real("y", 128).view()]
}
fn refused(args: &[View]) -> HostError {
    let mut recording = Recording::new("refused");
    match recording.push(call(), args) {
        Ok(()) => panic!("was accepted: {recording}"),
        Err(error) => {
            assert!(recording.ops().is_empty(), "a refused operation must leave no trace");
            error
        }
    }
}
/// The binding an argument error names, with the whole message.
fn argument(args: &[View]) -> (&'static str, String) {
    let error = refused(args);
    match &error {
        HostError::Argument { kernel: "rms_norm", binding, .. } => (binding, error.to_string()),
        other => panic!("not an argument error: {other:?}"),
    }
}

#[test]
fn what_fits_is_accepted() {
    let mut recording = Recording::new("fits");
    recording.push(call(), &right()).expect("fits");
    let [x, gain, _] = right();
    let wide = real("wide", 128 + 192);
    recording.push(call(), &[x, gain, wide.slice(192, 128)]).expect("an aligned part of a buffer fits");
    assert_eq!(recording.ops().len(), 2);
    let text = recording.to_string();
    assert!(text.contains("rms_norm(rows=4 width=32 gains=2 eps=0.000001) x gain -> y"), "{text}");
    assert!(text.contains("-> wide[192..320]"), "{text}");
}

#[test]
fn wrong_count() {
    let error = refused(&right()[..2]);
    assert!(matches!(error, HostError::ArgumentCount { kernel: "rms_norm", expected: 3, got: 2 }), "{error:?}");
}

#[test]
fn wrong_kind() {
    let [x, _, y] = right();
    let ids = Buffer::new("ids", Kind::Index, Role::Scratch, 64).view();
    let (binding, text) = argument(&[x, ids, y]);
    assert_eq!(binding, "gain");
    assert!(text.contains("Real") && text.contains("Index") && text.contains("ids"), "{text}");
}

#[test]
fn wrong_length() {
    for len in [127, 129, 0] {
        let [_, gain, y] = right();
        let (binding, text) = argument(&[real("x", len).view(), gain, y]);
        assert_eq!(binding, "x");
        assert!(text.contains("128") && text.contains(&len.to_string()), "{text}");
    }
}

#[test]
fn outside_the_buffer() {
    for (offset, len) in [(64, 128), (usize::MAX - 63, 128), (64, usize::MAX)] {
        let [_, gain, y] = right();
        let (binding, text) = argument(&[real("x", 128).slice(offset, len), gain, y]);
        assert_eq!(binding, "x");
        assert!(text.contains("within"), "{text}");
    }
}

#[test]
fn unaligned() {
    let [_, gain, y] = right();
    let (binding, text) = argument(&[real("x", 256).slice(32, 128), gain, y]);
    assert_eq!(binding, "x");
    assert!(text.contains("divisible by 64"), "{text}");
}

#[test]
fn aliasing() {
    // The same elements, and disjoint parts of one buffer: a dispatch may have neither, because WebGPU forbids both.
    let [x, gain, _] = right();
    let (binding, text) = argument(&[x.clone(), gain.clone(), x]);
    assert!(binding == "x" || binding == "y", "{text}");
    let both = real("both", 256);
    let (binding, text) = argument(&[both.slice(0, 128), gain, both.slice(128, 128)]);
    assert!((binding == "x" || binding == "y") && text.contains("both"), "{text}");
    // Two views that are only read may share.
    let mut recording = Recording::new("shared");
    let params = Params { rows: 2, ..PARAMS };
    let shared = real("shared", 128);
    recording
        .push(rms_norm::call(params), &[shared.slice(0, 64), shared.slice(0, 64), real("y", 64).view()])
        .expect("read twice");
}

#[test]
fn too_large_for_a_gpu() {
    // 128 MiB is the limit; nothing is allocated by a buffer's handle.
    let rows = (128 << 20) / 4 / 32 + 1;
    let len = rows as usize * 32;
    let mut recording = Recording::new("large");
    let [_, gain, _] = right();
    recording
        .push(rms_norm::call(Params { rows, ..PARAMS }), &[real("x", len).view(), gain, real("y", len).view()])
        .expect("fits the CPU");
    let error = recording.fits_gpus();
    assert!(matches!(error, Err(HostError::Limit { kernel: "rms_norm", limit: 0x800_0000, .. })), "{error:?}");
}

#[test]
fn a_weight_must_be_written_before_it_is_read() {
    let device = Device::Cpu(Cpu::plain());
    let weight = Buffer::new("norm.gain", Kind::Real, Role::Weight, 64);
    let [x, _, y] = right();
    let mut recording = Recording::new("unwritten");
    recording.push(call(), &[x, weight.view(), y.clone()]).expect("fits");
    let error = device.run(&recording, 1);
    assert!(matches!(&error, Err(HostError::Unwritten { label, .. }) if label == "norm.gain"), "{error:?}");
    device.write(&weight.view(), &[1.0_f32; 64]).expect("in range");
    device.run(&recording, 1).expect("now it is there");
    let zeros: Vec<f32> = pollster::block_on(device.read(&y)).expect("in range");
    assert_eq!(zeros, vec![0.0; 128], "scratch starts as zeros, whose norm is zero");
}

#[test]
fn reads_and_writes_stay_inside() {
    let device = Device::Cpu(Cpu::plain());
    let buffer = real("x", 8);
    let errors = [
        device.write(&buffer.view(), &[0.0_f32; 9]),
        device.write(&buffer.view(), &[0.0_f32; 7]),
        device.write(&buffer.slice(4, 8), &[0.0_f32; 8]),
        device.write(&buffer.slice(usize::MAX, 2), &[0.0_f32; 2]),
        pollster::block_on(device.read::<f32>(&buffer.slice(6, 3))).map(drop),
    ];
    for error in errors {
        assert!(matches!(&error, Err(HostError::Range { label, .. }) if label == "x"), "{error:?}");
    }
    device.write(&buffer.slice(3, 2), &[1.5_f32, 2.5]).expect("in range");
    let all: Vec<f32> = pollster::block_on(device.read(&buffer.view())).expect("in range");
    assert_eq!(all, [0.0, 0.0, 0.0, 1.5, 2.5, 0.0, 0.0, 0.0]);
}
