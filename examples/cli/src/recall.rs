//! Where a model's memory lies, and opening it.

use crate::args::RecallArgs;
use crate::failure::{Done, Failure};
use etcetera::base_strategy::{BaseStrategy, choose_native_strategy};
use lichen::memory::{Memory, Pool};
use lichen::{Header, Model, Store};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The variable that says where memories lie.
const VARIABLE: &str = "LICHEN_MEMORY";

/// The memory's file for a model: what the flag says, else what LICHEN_MEMORY says, else one in the user's data
/// folder. Where that is a folder, each model has a file in it. None where no such folder is known.
pub(crate) fn path(flag: Option<&Path>, id: &str) -> Option<PathBuf> {
    let variable = env::var_os(VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let name = format!("{}.memory", id.get(..16).unwrap_or(id));
    match flag.map(Path::to_path_buf).or(variable) {
        Some(folder) if folder.is_dir() => Some(folder.join(name)),
        Some(file) => Some(file),
        None => Some(folder()?.join(name)),
    }
}

/// There is no place for a memory.
pub(crate) fn nowhere() -> Failure {
    Failure::Failed("no folder for the data of programs is known here; name a memory with --memory".into())
}

/// Where this system keeps what programs know of their user.
fn folder() -> Option<PathBuf> {
    let folders = choose_native_strategy().ok()?;
    // Windows copies what roams to the servers of an organisation; what is learned here stays here.
    let folder = if cfg!(windows) { folders.cache_dir() } else { folders.data_dir() };
    Some(folder.join("lichen"))
}

/// The memory as it was last committed; none where nothing was ever kept.
pub(crate) fn to_read(path: &Path, header: &Header) -> Done<Option<Memory>> {
    let store = Store::open_to_read(path).map_err(lichen::Error::from)?;
    Ok(store.map(|store| Memory::open_for(store, header)).transpose()?)
}

/// The memory to change. Others are told that `what` is at it.
pub(crate) fn to_write(path: &Path, header: &Header, what: &str) -> Done<Memory> {
    let who = format!("lichen {what}, process {}", std::process::id());
    let store = Store::open(path, &who).map_err(lichen::Error::from)?;
    Ok(Memory::open_for(store, header)?)
}

/// Whether anything was ever kept there.
pub(crate) fn exists(path: &Path) -> bool {
    // What cannot be looked at is for opening to complain about.
    fs::metadata(path).map_or_else(|e| e.kind() != std::io::ErrorKind::NotFound, |about| about.len() > 0)
}

/// The memory's file that the flags of a conversation ask for.
pub(crate) fn asked(args: &RecallArgs, model: &Model) -> Option<PathBuf> {
    match args.no_memory {
        true => None,
        false => path(args.memory.as_deref(), model.header().lineage()),
    }
}

/// What was learned, on the model's device; none where that is nothing.
pub(crate) fn pool(path: Option<&Path>, model: &Model) -> Done<Option<Pool>> {
    let Some(path) = path else { return Ok(None) };
    let pool = || -> Done<Option<Pool>> {
        let Some(memory) = to_read(path, model.header())? else { return Ok(None) };
        match memory.open_lessons()?.is_empty() {
            true => Ok(None),
            false => Ok(Some(pollster::block_on(memory.pool(model))?)),
        }
    };
    let pool = pool().map_err(|error| Failure::Failed(format!("{error}; --no-memory goes on without it")))?;
    let (lessons, sections) = pool.as_ref().map_or((0, 0), |pool| (pool.lessons().len(), pool.sections()));
    log::info!("{}: {lessons} lessons in {sections} sections", path.display());
    Ok(pool)
}
