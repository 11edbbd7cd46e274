//! From flags to a model on a device.

use crate::args::{DeviceArgs, ModelArgs};
use crate::bench::machine;
use crate::failure::{Done, Failure};
use crate::{cache, files, output};
use bytesize::ByteSize;
use lichen::memory::Pool;
use lichen::session::Session;
use lichen::{Checkpoint, Choice, Device, Header, Model, Source};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The model that is part of the program. An empty file stands for none.
static BUILT_IN: &[u8] = include_bytes!("../model/lichen.safetensors");

/// A model file's bytes.
pub(crate) enum Bytes {
    BuiltIn,
    File(files::Mapped),
}
impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::BuiltIn => BUILT_IN,
            Bytes::File(map) => map,
        }
    }
}

/// Name of a model for people.
pub(crate) fn name(path: Option<&Path>) -> String {
    path.map_or("the built-in model".into(), |p| p.display().to_string())
}

/// Opens a model file, or the built-in model.
pub(crate) fn bytes(path: Option<&Path>) -> Done<Bytes> {
    match path {
        Some(path) => Ok(Bytes::File(files::map(path)?)),
        None if BUILT_IN.is_empty() => {
            Err(Failure::Failed("this build of lichen has no built-in model; name a model file with -m".into()))
        }
        None => Ok(Bytes::BuiltIn),
    }
}

/// Reads and checks a model file's header.
pub(crate) fn header(path: Option<&Path>, bytes: &Bytes) -> Done<Header> {
    Header::parse(bytes, bytes.len() as u64).map_err(Failure::with(format!("cannot use {}", name(path))))
}

/// Reads and checks a whole model file.
pub(crate) fn checkpoint(path: Option<&Path>) -> Done<Checkpoint> {
    let bytes = bytes(path)?;
    Checkpoint::parse(&bytes).map_err(Failure::with(format!("cannot use {}", name(path))))
}

/// Opens the device of the flags, and says what a person should know about it.
pub(crate) fn device(args: &DeviceArgs) -> Done<Arc<Device>> {
    let choice = Choice::from(args.device.as_str());
    let opened = pollster::block_on(Device::open_with(&choice, args.threads.map_or(0, usize::from), cache::kept));
    let (device, note) = opened.map_err(|e| Failure::Failed(format!("{e}; see 'lichen devices'")))?;
    if let Some(note) = note {
        output::warn(&note);
    }
    log::info!("device: {}", device.name());
    Ok(Arc::new(device))
}

/// A CPU device for training and the like.
pub(crate) fn cpu(threads: Option<u16>) -> Done<Arc<Device>> {
    device(&DeviceArgs { device: "cpu".into(), threads })
}

/// Where a model's weights come from.
pub(crate) fn source(path: Option<&Path>) -> Done<Arc<dyn Source>> {
    match path {
        Some(path) => Ok(Arc::new(files::in_places(path)?)),
        None => bytes(None).map(|_| Arc::new(BUILT_IN) as Arc<dyn Source>),
    }
}

/// A model on a device, within a budget if there is one.
pub(crate) fn open(path: Option<&Path>, device: &Arc<Device>, budget: Option<ByteSize>) -> Done<Arc<Model>> {
    let cannot = Failure::with(format!("cannot use {}", name(path)));
    let model = Model::open(source(path)?, device.clone(), budget.map(|size| size.as_u64())).map_err(cannot)?;
    if let (Some(paging), false) = (model.paging(), device.is_cpu())
        && paging.places < paging.sections
    {
        let (some, all) = (paging.places, paging.sections);
        output::note(&format!(
            "{some} of {all} sections fit the budget: {} waits for each layer's choice",
            device.name()
        ));
    }
    Ok(Arc::new(model))
}

/// The model of the flags on the device of the flags.
pub(crate) fn model(args: &ModelArgs) -> Done<Arc<Model>> {
    let path = args.model.as_deref();
    // The header first: what is wrong with it is found at once, a GPU takes a moment.
    header(path, &bytes(path)?)?;
    open(path, &device(&args.device)?, args.memory_budget)
}

/// Says with -v how sections came and went, and what memory all of it took.
pub(crate) fn tell_memory(model: &Model) {
    if let Some(paging) = model.paging() {
        let mib = |sections: u64| (sections * paging.section_bytes) as f64 / f64::from(1 << 20);
        log::info!(
            "sections: places for {} of {} ({:.0} MiB); {} found there, {} read ({:.0} MiB)",
            paging.places,
            paging.sections,
            mib(paging.places),
            paging.found,
            paging.read,
            mib(paging.read)
        );
    }
    if let Some(peak) = machine::peak_memory() {
        log::info!("peak memory: {} MiB", peak.div_ceil(1 << 20));
    }
}

/// A model on the CPU with all its sections in memory: lessons are learned there.
pub(crate) fn to_learn(path: Option<&Path>, threads: Option<u16>) -> Done<Arc<Model>> {
    let model = Model::open(source(path)?, cpu(threads)?, None);
    model.map(Arc::new).map_err(Failure::with(format!("cannot use {}", name(path))))
}

/// An empty stream of a model, without anything that was learned on this device.
pub(crate) fn session(model: &Arc<Model>) -> Done<Session> {
    session_with(model, None)
}

/// An empty stream of a model with what was learned. What a GPU compiled for it is kept for the next run.
pub(crate) fn session_with(model: &Arc<Model>, pool: Option<&Pool>) -> Done<Session> {
    let session = Session::with_plastic(model.clone(), pool.map(|pool| pool.plastic().clone()))?;
    cache::keep(model.device());
    Ok(session)
}
