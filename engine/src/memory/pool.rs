//! A memory's open lessons on a device.

use super::merge::Serving;
use super::{Memory, MemoryError};
use crate::error::Error;
use crate::model::Model;
use crate::plastic::{KEYS, NEURONS, Plastic, Written, layers};

/// The least room of a pool.
const LEAST: usize = 8;
/// A threshold that no cosine passes.
const SHUT: f32 = 2.0;

/// A pool of sections that holds the open lessons of a memory: neither undone nor replaced. Each section has the place
/// that the rank of its lesson gives it, a merged one of its first, so that sums over open sections are made in the same
/// order in every process.
#[derive(Debug)]
pub struct Pool {
    plastic: Plastic,
    /// Of each place that is taken the lessons and the section's SHA-256, in the order of first lessons.
    places: Vec<(Vec<u64>, String)>,
}

impl Memory {
    /// A pool on the model's device with every open lesson in it, and room for at least one more: places come in
    /// powers of two, 8 at least. Every section is checked against its SHA-256 on the way.
    ///
    /// # Errors
    /// [`MemoryError::OtherModel`]: not the model that this memory is of. [`MemoryError::Damaged`]: a section is not
    /// what was committed, or holds a number that is not finite; nothing of it reaches the device. Also where the
    /// model cannot learn on a device, and those of store and device.
    pub async fn pool(&self, model: &Model) -> Result<Pool, Error> {
        self.check_model(model)?;
        let (snapshot, serving) = self.serving()?;
        let plastic = Plastic::new(model, (serving.len() + 1).next_power_of_two().max(LEAST)).await?;
        for (place, serving) in serving.iter().enumerate() {
            plastic.write(model.device(), place, &self.serving_section(&snapshot, serving)?)?;
        }
        Ok(Pool { plastic, places: places(serving) })
    }

    fn check_model(&self, model: &Model) -> Result<(), Error> {
        match model.header().lineage() == self.model {
            true => Ok(()),
            false => {
                let (theirs, ours) = (self.model.clone(), model.id().to_string());
                Err(MemoryError::OtherModel { memory: self.name(), theirs, ours }.into())
            }
        }
    }
}

impl Pool {
    /// The sections, for `Session::with_plastic`. Sessions that were given a clone follow what [`Pool::update`] does.
    pub fn plastic(&self) -> &Plastic {
        &self.plastic
    }
    /// Sections in it.
    pub fn sections(&self) -> usize {
        self.places.len()
    }
    /// The lessons in it, in the order of their sections.
    pub fn lessons(&self) -> Vec<u64> {
        self.places.iter().flat_map(|(lessons, _)| lessons.iter().copied()).collect()
    }
    /// The place of a lesson, if it is open.
    pub fn place(&self, lesson: u64) -> Option<usize> {
        self.places.iter().position(|(lessons, _)| lessons.contains(&lesson))
    }

    /// Brings the pool to where the memory is now, after commits, undoing and clearing: afterwards it is, bit for
    /// bit, what [`Memory::pool`] would make. Only places that changed are written. Says false, and changes nothing,
    /// where the open lessons outgrew it: then make a new pool, and new sessions with it.
    ///
    /// A session in the middle of an answer holds the places of the sections that opened for it: update between
    /// answers.
    ///
    /// # Errors
    /// As [`Memory::pool`]; only an error of the device may leave the pool half updated.
    pub fn update(&mut self, memory: &Memory, model: &Model) -> Result<bool, Error> {
        memory.check_model(model)?;
        let (snapshot, serving) = memory.serving()?;
        if serving.len() > self.plastic.capacity() {
            return Ok(false);
        }
        let same = |place: usize, sha256: &str| self.places.get(place).is_some_and(|(_, held)| held == sha256);
        let changed = serving.iter().enumerate().filter(|(place, serving)| !same(*place, &serving.record.sha256));
        // All of them are read before the first is written.
        let changed = changed.map(|(place, serving)| Ok((place, memory.serving_section(&snapshot, serving)?)));
        let changed = changed.collect::<Result<Vec<_>, Error>>()?;
        for (place, written) in &changed {
            self.plastic.write(model.device(), *place, written)?;
        }
        for place in serving.len()..self.places.len() {
            // Not only shut: nothing of what was taken back stays on the device.
            self.plastic.write(model.device(), place, &empty(model))?;
        }
        self.places = places(serving);
        Ok(true)
    }
}

fn places(serving: Vec<Serving>) -> Vec<(Vec<u64>, String)> {
    serving.into_iter().map(|serving| (serving.lessons, serving.record.sha256)).collect()
}

/// A section that never opens.
fn empty(model: &Model) -> Written {
    let config = model.config();
    let slab = vec![0.0; 2 * NEURONS * config.width];
    let slabs = vec![slab; layers(config).len()];
    Written { phrase: None, fact: None, theta: SHUT, keys: vec![0.0; KEYS * config.turn], slabs }
}
