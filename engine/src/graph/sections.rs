//! The feed-forward layer of sections: the router, the picks as kernels take them, and the vectors of turns that are made
//! of the same normed rows.

use super::{Builder, Entering, RouteBuffers, TurnBuffers};
use crate::error::Error;
use crate::plastic::{KEYS, MUTED, NEURONS, OPEN};
use lichen_host::{Buffer, Recording, Role, View};
use lichen_shaders::kernel::Kind;
use lichen_shaders::packed::Format;
use lichen_shaders::{
    latch, matmul, router, router_gate, section_down, section_down_packed, section_lists, section_sum, section_up,
    section_up_packed, section_up_quantized, segment_mean,
};

impl Builder<'_> {
    /// The FSA layer: the router wakes K sections beside the shared ones; suppressed features stay exactly zero.
    pub(super) fn sections(&mut self, x: &View) -> Result<View, Error> {
        let c = self.c;
        let (rows, slots) = (self.rows as u32, c.slots());
        let gain = self.weight("ffn.norm")?;
        let kept = self.shape.keep == Some(self.layer);
        // What is kept has buffers that no later layer takes over.
        let z = self.norm(if kept { "z.kept" } else { "ffn.z" }, x, gain, c.width, 1)?;
        if self.shape.turns > 0 && self.layer == c.turn_layer() {
            self.turn_means(&z)?;
        }
        if self.shape.plastic.is_some() && self.opened.is_none() && self.layer == c.turn_layer() {
            self.latch(&z)?;
        }
        let said = z.clone();
        let mut route = self.route(&z)?;
        let (ids, gates) = (route.ids.view(), route.gates.view());
        let (places, tiles) = self.lists(&mut route)?;
        if route.places.is_some() {
            let label = self.recording.label().to_string();
            self.heads.push(std::mem::replace(&mut self.recording, Recording::new(label)));
        }
        let h = self.scratch("ffn.h", slots * c.neurons);
        let out = self.scratch("ffn.slots", slots * c.width);
        let parts = self.weights.sections(self.layer)?.clone();
        let kind = if parts.format.is_some() { Kind::Index } else { Kind::Real };
        let nothing = Buffer::new("nothing", kind, Role::State, 64);
        let stride = match parts.format {
            None => c.stride(),
            Some(format) => section_up_packed::slab_words(format, c.neurons, c.width),
        };
        let windows = parts.buffers.chunks(4).enumerate().map(|(i, chunks)| {
            let bound: [View; 4] = std::array::from_fn(|j| chunks.get(j).unwrap_or(&nothing).view());
            let params = section_up::Params {
                rows,
                picks: slots as u32,
                width: c.width as u32,
                neurons: c.neurons as u32,
                stride: stride as u32,
                first: (i * 4 * parts.rows) as u32,
                per_chunk: parts.rows as u32,
                chunks: chunks.len() as u32,
                c0: bound[0].len as u32,
                c1: bound[1].len as u32,
                c2: bound[2].len as u32,
                c3: bound[3].len as u32,
                tiles,
            };
            (params, bound)
        });
        let integers = parts.format.is_some_and(Format::has_scales) && !self.weights.floats;
        let z = if integers { self.quantize("ffn.z8", &z, self.rows)? } else { z };
        for (params, [a, b, c, d]) in windows.clone() {
            let call = match parts.format.map(|format| section_up_packed::Params::new(params, format)) {
                None => section_up::call(params),
                Some(params) if integers => section_up_quantized::call(params),
                Some(params) => section_up_packed::call(params),
            };
            self.push(call, &[z.clone(), places.clone(), a, b, c, d, h.clone()])?;
        }
        for (params, [a, b, c, d]) in windows {
            let call = match parts.format {
                None => section_down::call(params),
                Some(format) => section_down_packed::call(section_up_packed::Params::new(params, format)),
            };
            self.push(call, &[h.clone(), places.clone(), a, b, c, d, out.clone()])?;
        }
        let y = self.scratch(if kept { "x.kept" } else { "x.ffn" }, c.width);
        let call = section_sum::call(section_sum::Params { rows, picks: slots as u32, width: c.width as u32 });
        self.push(call, &[x.clone(), out, ids, gates, y.clone()])?;
        self.routes.push(route);
        if kept {
            self.entering = Some(Entering { rows: y.clone(), normed: said.clone() });
        }
        self.plastic(&said, y)
    }

    /// Finds out which sections of the plastic pool each row opens.
    fn latch(&mut self, z: &View) -> Result<(), Error> {
        let Some(pool) = self.shape.plastic.as_ref() else { return Ok(()) };
        let (batch, steps, dim) = (self.shape.batch as u32, self.shape.steps as u32, self.c.turn as u32);
        let projected = self.project_turn(z)?;
        let ids = self.buffer("latch.ids", Kind::Index, self.rows * OPEN);
        let open = self.buffer("latch.open", Kind::Real, self.rows * OPEN);
        let [user, answer, end] = pool.marks();
        let (sections, keys, picks, muted) = (pool.capacity() as u32, KEYS as u32, OPEN as u32, MUTED as u32);
        let call = latch::call(latch::Params { batch, steps, dim, sections, keys, picks, muted, user, answer, end });
        let args = [projected, self.ids.view(), pool.gate().view(), self.state("latch")?, self.live()];
        self.push(call, &[&args[..], &[ids.clone(), open.clone()]].concat())?;
        self.opened = Some((ids, open));
        Ok(())
    }

    /// Adds what the open sections of the plastic pool make of the normed rows z.
    pub(super) fn plastic(&mut self, z: &View, x: View) -> Result<View, Error> {
        let (Some(pool), Some((ids, open))) = (&self.shape.plastic, self.opened.clone()) else { return Ok(x) };
        let Some(slabs) = pool.slabs(self.layer).map(Buffer::view) else { return Ok(x) };
        let (width, stride) = (self.c.width, 2 * NEURONS * self.c.width);
        let nothing = Buffer::new("nothing", Kind::Real, Role::State, 64).view();
        let params = section_up::Params {
            rows: self.rows as u32,
            picks: OPEN as u32,
            width: width as u32,
            neurons: NEURONS as u32,
            stride: stride as u32,
            first: 0,
            per_chunk: pool.capacity() as u32,
            chunks: 1,
            c0: slabs.len as u32,
            c1: nothing.len as u32,
            c2: nothing.len as u32,
            c3: nothing.len as u32,
            tiles: 0,
        };
        let chunks = [slabs, nothing.clone(), nothing.clone(), nothing];
        let (h, out) = (self.scratch("plastic.h", OPEN * NEURONS), self.scratch("plastic.slots", OPEN * width));
        let args =
            |from: &View, to: &View| [&[from.clone(), ids.clone()], &chunks[..], std::slice::from_ref(to)].concat();
        self.push(section_up::call(params), &args(z, &h))?;
        self.push(section_down::call(params), &args(&h, &out))?;
        let y = self.scratch("x.plastic", width);
        let (rows, picks, width) = (self.rows as u32, OPEN as u32, width as u32);
        let call = section_sum::call(section_sum::Params { rows, picks, width });
        self.push(call, &[x, out, ids, open, y.clone()])?;
        Ok(y)
    }

    /// Rows in the space where gates compare turns.
    fn project_turn(&mut self, z: &View) -> Result<View, Error> {
        let (rows, inputs, outputs) = (self.rows as u32, self.c.width as u32, self.c.turn as u32);
        let projected = self.scratch("turn.z", self.c.turn);
        let params = matmul::Params { rows, inputs, outputs, groups: 1, x_stride: inputs, x_offset: 0 };
        let w = self.weights.buffer("turn.project")?.view();
        self.push(matmul::call(params), &[z.clone(), w, projected.clone()])?;
        Ok(projected)
    }

    /// The mean of each turn's rows in the space where gates compare turns.
    fn turn_means(&mut self, z: &View) -> Result<(), Error> {
        let (rows, width, turns) = (self.rows, self.c.turn, self.shape.turns);
        let projected = self.project_turn(z)?;
        let numbers = Buffer::new("turns of rows", Kind::Index, Role::Scratch, rows);
        let means = Buffer::new("turn means", Kind::Real, Role::Scratch, turns * width);
        let call =
            segment_mean::call(segment_mean::Params { rows: rows as u32, width: width as u32, segments: turns as u32 });
        self.push(call, &[projected, numbers.view(), means.view()])?;
        self.turns = Some(TurnBuffers { rows: numbers, means });
        Ok(())
    }

    /// The picks as section kernels take them, and how many tiles of lists follow them: a GPU with many tokens reads a
    /// section once for all that picked it. The CPU groups them by itself.
    fn lists(&mut self, route: &mut RouteBuffers) -> Result<(View, u32), Error> {
        let (picks, sections) = (route.ids.len() as u32, self.c.all_sections() as u32);
        if !self.device.traits().is_some_and(|traits| section_lists::pay(picks, sections, traits)) {
            return Ok((route.places.as_ref().unwrap_or(&route.ids).view(), 0));
        }
        let tiles = section_lists::tiles(picks, sections);
        let index = |name, len| Buffer::new(format!("{}.{name}", self.layer), Kind::Index, Role::Scratch, len);
        let counts = index("counts", self.c.all_sections());
        let plan = index("plan", route.ids.len() + (tiles * section_lists::TILE) as usize);
        let call = section_lists::call(section_lists::Params { picks, sections });
        self.push(call, &[route.ids.view(), counts.view(), plan.view()])?;
        // The lists name slots, and so hold wherever the caller says that a slot's section lies.
        route.places = route.places.is_some().then(|| plan.clone());
        Ok((plan.view(), tiles))
    }

    fn route(&mut self, z: &View) -> Result<RouteBuffers, Error> {
        let c = self.c;
        let (slots, shared) = (c.slots(), c.shared_sections());
        let ids = Buffer::new(format!("{}.ids", self.layer), Kind::Index, Role::Scratch, self.rows * slots);
        let gates = Buffer::new(format!("{}.gates", self.layer), Kind::Real, Role::Scratch, self.rows * slots);
        if c.sections == 0 {
            // A dense layer: every token uses the shared sections, always.
            let every: Vec<u32> = (0..self.rows * slots).map(|i| (i % slots) as u32).collect();
            self.device.write(&ids.view(), &every)?;
            self.device.write(&gates.view(), &vec![1f32; gates.len()])?;
            return Ok(RouteBuffers { scores: None, ids, gates, places: None });
        }
        let (rows, sections, picks, always) = (self.rows as u32, c.sections as u32, c.picks as u32, shared as u32);
        let p = self.project("ffn.p", z, 0, c.width, "route.project", 1)?;
        let a = self.project("ffn.a", &p, 0, c.route, "route.rows", 1)?;
        let mut scores = None;
        if !self.shape.forced {
            let s = Buffer::new(format!("{}.scores", self.layer), Kind::Real, Role::Scratch, self.rows * c.sections);
            let call = router::call(router::Params { rows, sections, picks, always });
            self.push(call, &[a.clone(), self.weight("route.bias")?, s.view(), ids.view()])?;
            scores = Some(s);
        }
        let call = router_gate::call(router_gate::Params { rows, sections, picks, always, scale: c.rho });
        self.push(call, &[a, ids.view(), gates.view()])?;
        let place = || Buffer::new(format!("{}.places", self.layer), Kind::Index, Role::Scratch, self.rows * slots);
        let places = self.weights.paged().then(place);
        Ok(RouteBuffers { scores, ids, gates, places })
    }
}
