//! Looking inside: routes of the last token, and runs whose routes are recorded or given, for comparing devices.

use super::Session;
use crate::config::Config;
use crate::error::Error;
use crate::graph::{self, Graph, Logits, Shape};

/// Which sections of a layer a token woke.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Layer.
    pub layer: usize,
    /// Routed sections, ascending, with their gates; the shared ones are left out.
    pub picks: Vec<(u32, f32)>,
    /// How far the last section picked was ahead of the first one left out; infinite when none was left out.
    pub gap: f32,
}

/// Which sections each row of an input woke.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteMap {
    /// Routed sections of a layer.
    pub sections: usize,
    /// For each layer the picks of each row, ascending, with their gates; the shared sections are left out.
    pub layers: Vec<Vec<Vec<(u32, f32)>>>,
}

impl RouteMap {
    pub(super) fn new(config: &Config) -> Self {
        Self { sections: config.sections, layers: vec![Vec::new(); config.layers] }
    }
    /// Rows.
    pub fn rows(&self) -> usize {
        self.layers.first().map_or(0, Vec::len)
    }
    /// The last row alone: where an answer begins.
    pub fn last(&self) -> Self {
        let layers = self.layers.iter().map(|rows| rows.last().cloned().into_iter().collect()).collect();
        Self { sections: self.sections, layers }
    }
    /// How much each section of a layer was woken: its gates summed over the rows, over the number of rows.
    pub fn heat(&self, layer: usize) -> Vec<f32> {
        let mut heat = vec![0.0; self.sections];
        let rows = self.layers.get(layer).map_or(&[][..], Vec::as_slice);
        for &(id, gate) in rows.iter().flatten() {
            if let Some(heat) = heat.get_mut(id as usize) {
                *heat += gate / rows.len() as f32;
            }
        }
        heat
    }
    /// What two inputs share, from 0 to 1, as the mean over layers: of their sets of woken sections (Jaccard), and of
    /// how much each was woken (weighted Jaccard: the sum of the smaller over the sum of the larger).
    pub fn overlap(&self, other: &Self) -> (f32, f32) {
        let mut sums = (0.0, 0.0);
        let layers = self.layers.len().min(other.layers.len());
        for layer in 0..layers {
            let (a, b) = (self.heat(layer), other.heat(layer));
            let pairs = || a.iter().zip(&b);
            let (both, any) = pairs().fold((0, 0), |(both, any), (a, b)| {
                (both + usize::from(*a > 0.0 && *b > 0.0), any + usize::from(*a > 0.0 || *b > 0.0))
            });
            let (least, most) = pairs().fold((0.0, 0.0), |(l, m): (f32, f32), (a, b)| (l + a.min(*b), m + a.max(*b)));
            sums.0 += both as f32 / any.max(1) as f32;
            sums.1 += least / most.max(f32::MIN_POSITIVE);
        }
        (sums.0 / layers.max(1) as f32, sums.1 / layers.max(1) as f32)
    }
}

/// Logits [tokens, V], section ids of each layer [tokens, slots], and the smallest router gap of each token.
pub type Trace = (Vec<f32>, Vec<Vec<u32>>, Vec<f32>);

/// The K-th highest score minus the next one; infinite when there is none.
fn gap(scores: &[f32], picks: usize) -> f32 {
    let mut order: Vec<f32> = scores.iter().map(|&s| if s.is_nan() { f32::NEG_INFINITY } else { s }).collect();
    order.sort_unstable_by(|a, b| b.total_cmp(a));
    match (picks.checked_sub(1).and_then(|k| order.get(k)), order.get(picks)) {
        (Some(last), Some(next)) => last - next,
        _ => f32::INFINITY,
    }
}

impl Session {
    /// Routes of the last token fed, layer by layer; empty for a dense model and when nothing was fed since the
    /// session was made, reset or restored.
    pub async fn routes(&self) -> Result<Vec<Route>, Error> {
        let c = self.config();
        if c.sections == 0 || self.position == 0 {
            return Ok(Vec::new());
        }
        self.settle()?;
        let (slots, shared, row) = (c.slots(), c.shared_sections(), self.last_row);
        let mut routes = Vec::with_capacity(self.last.len());
        for (layer, buffers) in self.last.iter().enumerate() {
            let ids = self.device().read::<u32>(&buffers.ids.slice(row * slots, slots)).await?;
            let gates = self.device().read::<f32>(&buffers.gates.slice(row * slots, slots)).await?;
            let gap = match &buffers.scores {
                Some(scores) => {
                    gap(&self.device().read::<f32>(&scores.slice(row * c.sections, c.sections)).await?, c.picks)
                }
                None => f32::INFINITY,
            };
            let picks =
                ids.into_iter().zip(gates).skip(shared).map(|(id, gate)| (id.saturating_sub(shared as u32), gate));
            routes.push(Route { layer, picks: picks.collect(), gap });
        }
        Ok(routes)
    }

    /// Adds the routes of the rows fed last.
    pub(super) async fn note_routes(&self, map: Option<&mut RouteMap>) -> Result<(), Error> {
        let c = self.config();
        let Some(map) = map.filter(|_| c.sections > 0) else { return Ok(()) };
        let (slots, shared, rows) = (c.slots(), c.shared_sections(), self.last_row + 1);
        for (buffers, layer) in self.last.iter().zip(&mut map.layers) {
            let ids = self.device().read::<u32>(&buffers.ids.slice(0, rows * slots)).await?;
            let gates = self.device().read::<f32>(&buffers.gates.slice(0, rows * slots)).await?;
            for (ids, gates) in ids.chunks(slots).zip(gates.chunks(slots)) {
                let picks = ids.iter().zip(gates).skip(shared);
                layer.push(picks.map(|(&id, &gate)| (id.saturating_sub(shared as u32), gate)).collect());
            }
        }
        Ok(())
    }

    /// Feeds tokens, recording the logits and the route of each.
    pub async fn traced(&mut self, tokens: &[u32]) -> Result<Trace, Error> {
        let (layers, picks, sections) = (self.config().layers, self.config().picks, self.config().sections);
        let mut logits = Vec::new();
        let mut ids = vec![Vec::new(); layers];
        let mut gaps = Vec::with_capacity(tokens.len());
        self.begin(tokens)?;
        for chunk in self.pieces(tokens, self.inspected_chunk()) {
            let graph = self.inspected(chunk.len(), false)?;
            self.run_inspected(&graph, chunk, &mut logits).await?;
            let mut smallest = vec![f32::INFINITY; chunk.len()];
            for (route, ids) in graph.routes.iter().zip(&mut ids) {
                ids.extend(self.device().read::<u32>(&route.ids.view()).await?);
                if let Some(scores) = &route.scores {
                    let scores = self.device().read::<f32>(&scores.view()).await?;
                    let rows = scores.chunks(sections.max(1));
                    smallest.iter_mut().zip(rows).for_each(|(s, row)| *s = s.min(gap(row, picks)));
                }
            }
            gaps.extend(smallest);
        }
        Ok((logits, ids, gaps))
    }

    /// Feeds tokens with given routes: `routes` holds the section ids [tokens, slots] of each layer, the shared
    /// ones first, as [`Session::traced`] gives them. Returns the logits [tokens, V].
    pub async fn forced(&mut self, tokens: &[u32], routes: &[Vec<u32>]) -> Result<Vec<f32>, Error> {
        let (layers, slots, all) = (self.config().layers, self.config().slots(), self.config().all_sections());
        let fits = |ids: &Vec<u32>| ids.len() == tokens.len() * slots && ids.iter().all(|&id| (id as usize) < all);
        if routes.len() != layers || !routes.iter().all(fits) {
            return Err(Error::State(format!(
                "the routes should be {slots} section ids below {all} for each token in each of {layers} layers"
            )));
        }
        let mut logits = Vec::new();
        self.begin(tokens)?;
        let most = self.inspected_chunk();
        let mut from = 0;
        for chunk in self.pieces(tokens, most) {
            let graph = self.inspected(chunk.len(), true)?;
            for (route, ids) in graph.routes.iter().zip(routes) {
                self.device().write(&route.ids.view(), &ids[from * slots..(from + chunk.len()) * slots])?;
            }
            from += chunk.len();
            self.run_inspected(&graph, chunk, &mut logits).await?;
        }
        Ok(logits)
    }

    /// A vocabulary table in several parts gives the logits of one row at a time.
    fn inspected_chunk(&self) -> usize {
        match self.model.weights().parts("embed").is_ok_and(|parts| parts.buffers.len() > 1) {
            true => 1,
            false => self.chunk(),
        }
    }
    fn inspected(&self, steps: usize, forced: bool) -> Result<Graph, Error> {
        let plastic = self.plastic.clone();
        let shape = Shape { forced, plastic, ..Shape::new(1, steps, Logits::All).reused() };
        graph::build(self.config(), self.model.weights(), &self.state, self.device(), &shape, None)
    }
    async fn run_inspected(&mut self, graph: &Graph, tokens: &[u32], logits: &mut Vec<f32>) -> Result<(), Error> {
        self.device().write(&graph.ids.view(), tokens)?;
        self.note(tokens)?;
        self.torn = !graph.heads.is_empty();
        self.run(graph).await?;
        self.torn = false;
        tokens.iter().for_each(|&token| self.accept(token));
        (self.last, self.last_row) = (graph.routes.clone(), tokens.len() - 1);
        let all = self.device().read::<f32>(&graph.logits.view()).await?;
        // Where drawing and `logits` look for the last token's.
        self.device().write(&self.one.logits.view(), &all[all.len() - self.config().vocab..])?;
        logits.extend(all);
        Ok(())
    }
}
