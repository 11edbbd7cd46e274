//! Sections that come when the router asks for them: an arena of fewer places than the model has sections, and who
//! lies where. Everything else of a model is resident.
//!
//! Sections of all layers share the arena. The section that was woken longest ago gives its place up.

use crate::checkpoint::{Stored, read};
use crate::config::Config;
use crate::error::Error;
use crate::header::{Entry, Header};
use crate::source::Source;
use crate::storage::Storage;
use crate::weights::{ARENA, Weights};
use lichen_host::Device;
use std::sync::Arc;

/// What a model over its budget keeps free beside its weights: the program, the tokenizer and activations.
pub(crate) const RESERVE: u64 = 64 << 20;
/// No place.
const NOWHERE: u32 = u32::MAX;

/// How sections came and went since the model was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paging {
    /// Sections that the arena has room for.
    pub places: u64,
    /// Sections in the model.
    pub sections: u64,
    /// Sections that were asked for and found in the arena, counted once for each layer of a run.
    pub found: u64,
    /// Sections that were read from the file.
    pub read: u64,
    /// Bytes of a section.
    pub section_bytes: u64,
}

/// Places in an arena for sections under a budget of bytes for the whole model; none when it is too small for the
/// sections of one token.
pub(crate) fn places(config: &Config, storage: Storage, budget: u64) -> Result<usize, Error> {
    let section = storage.section_bytes(config);
    let others = storage.resident_bytes(config) - (config.all_sections() * config.layers) as u64 * section;
    let least = others + RESERVE + config.slots() as u64 * section;
    if budget < least {
        return Err(Error::Budget { got: budget, least });
    }
    let places = (budget - others - RESERVE) / section;
    Ok((places as usize).min(config.all_sections() * config.layers))
}

struct Place {
    /// Layer and section, once somebody lies here.
    owner: Option<(usize, usize)>,
    /// When it was last asked for.
    used: u64,
}

/// Who lies where.
pub(crate) struct Pager {
    source: Arc<dyn Source>,
    header: Header,
    /// The sections of each layer in the file.
    entries: Vec<Entry>,
    places: Vec<Place>,
    /// For each layer the place of each section.
    at: Vec<Vec<u32>>,
    clock: u64,
    counts: Paging,
}

impl Pager {
    pub(crate) fn new(source: Arc<dyn Source>, header: &Header, places: usize) -> Self {
        let config = &header.config;
        let entries: Vec<Entry> = header.entries.iter().filter(|e| e.spec.is_sections()).cloned().collect();
        let sections = (config.all_sections() * config.layers) as u64;
        Self {
            source,
            header: header.clone(),
            at: vec![vec![NOWHERE; config.all_sections()]; entries.len()],
            entries,
            places: (0..places).map(|_| Place { owner: None, used: 0 }).collect(),
            clock: 0,
            counts: Paging {
                places: places as u64,
                sections,
                section_bytes: header.storage.section_bytes(config),
                ..Paging::default()
            },
        }
    }

    pub(crate) fn counts(&self) -> Paging {
        self.counts
    }

    /// The places of some sections of a layer, brought in where they were not; none of them is given up for another.
    /// Ids outside the layer stay outside the arena.
    pub(crate) fn bring(
        &mut self,
        weights: &Weights,
        device: &Device,
        layer: usize,
        ids: &[u32],
    ) -> Result<Vec<u32>, Error> {
        self.clock += 1;
        let mut missing = Vec::new();
        for &id in ids {
            match self.at[layer].get(id as usize) {
                Some(&NOWHERE) => missing.push(id as usize),
                Some(&place) => {
                    let place = &mut self.places[place as usize];
                    self.counts.found += u64::from(place.used != self.clock);
                    place.used = self.clock;
                }
                None => {}
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for section in missing {
            let oldest = self.places.iter().enumerate().min_by_key(|(_, place)| place.used);
            let Some((place, _)) = oldest.filter(|(_, place)| place.used != self.clock) else {
                return Err(Error::State("more sections were woken at once than the arena has places".into()));
            };
            // Whoever lay there is gone even if reading fails.
            if let Some((layer, section)) = self.places[place].owner.take() {
                self.at[layer][section] = NOWHERE;
            }
            match read(&self.header, &*self.source, &self.entries[layer], section)? {
                Stored::Numbers(slab) => weights.upload_slab(device, ARENA, place, &slab)?,
                Stored::Words(slab) => weights.upload_slab(device, ARENA, place, &slab)?,
            }
            self.places[place] = Place { owner: Some((layer, section)), used: self.clock };
            self.at[layer][section] = place as u32;
            self.counts.read += 1;
        }
        Ok(ids.iter().map(|&id| self.at[layer].get(id as usize).copied().unwrap_or(NOWHERE)).collect())
    }
}
