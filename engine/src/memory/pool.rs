//! A memory's open lessons on a device.

use super::{Memory, MemoryError};
use crate::error::Error;
use crate::model::Model;
use crate::plastic::{KEYS, NEURONS, Plastic, Written, layers};

/// The least room of a pool.
const LEAST: usize = 8;
/// A threshold that no cosine passes.
const SHUT: f32 = 2.0;

/// A pool of sections that holds the open lessons of a memory: neither undone nor replaced, each in the place that
/// its rank among them gives it, so that sums over open sections are made in the same order in every process.
#[derive(Debug)]
pub struct Pool {
    plastic: Plastic,
    /// The lesson of each place that is taken, ascending.
    lessons: Vec<u64>,
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
        let (snapshot, open) = self.open_records()?;
        let plastic = Plastic::new(model, (open.len() + 1).next_power_of_two().max(LEAST)).await?;
        for (place, (&id, record)) in open.iter().enumerate() {
            plastic.write(model.device(), place, &self.section_of(&snapshot, id, record)?)?;
        }
        Ok(Pool { plastic, lessons: open.into_keys().collect() })
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
    /// The lessons in it; the place of a lesson is its index here.
    pub fn lessons(&self) -> &[u64] {
        &self.lessons
    }
    /// The place of a lesson, if it is open.
    pub fn place(&self, lesson: u64) -> Option<usize> {
        self.lessons.binary_search(&lesson).ok()
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
        let (snapshot, open) = memory.open_records()?;
        let lessons: Vec<u64> = open.keys().copied().collect();
        if lessons.len() > self.plastic.capacity() {
            return Ok(false);
        }
        let places = open.iter().enumerate();
        let changed = places.filter(|(place, (id, _))| self.lessons.get(*place) != Some(id));
        // All of them are read before the first is written.
        let changed = changed.map(|(place, (&id, record))| Ok((place, memory.section_of(&snapshot, id, record)?)));
        let changed = changed.collect::<Result<Vec<_>, Error>>()?;
        for (place, written) in &changed {
            self.plastic.write(model.device(), *place, written)?;
        }
        for place in lessons.len()..self.lessons.len() {
            // Not only shut: nothing of what was taken back stays on the device.
            self.plastic.write(model.device(), place, &empty(model))?;
        }
        self.lessons = lessons;
        Ok(true)
    }
}

/// A section that never opens.
fn empty(model: &Model) -> Written {
    let config = model.config();
    let slab = vec![0.0; 2 * NEURONS * config.width];
    Written { theta: SHUT, keys: vec![0.0; KEYS * config.turn], slabs: vec![slab; layers(config).len()] }
}
