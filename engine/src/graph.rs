//! The only place where layers are composed into a recording.
//!
//! One builder serves decode (one token), prefill (a chunk) and training (a batch of sequences): the same
//! operations with other row counts. See ARCHITECTURE.md for the equations.

mod sections;
mod senses;
#[cfg(test)]
mod tests;

pub use senses::{PICTURE, SenseBuffers};

use crate::config::{Config, Mixer};
use crate::error::Error;
use crate::plastic::{MUTED, OPEN, Plastic};
use crate::weights::Weights;
use lichen_host::{Buffer, Device, Recording, Role, View};
use lichen_shaders::kernel::{Call, Kind};
use lichen_shaders::packed::Format;
use lichen_shaders::{
    add, conv, delta_inputs, embed, embed_packed, gate, matmul, matmul_packed, matmul_quantized, mcsd_decay,
    mcsd_slope, quantize, rms_norm, scan, slope,
};
use std::collections::{HashMap, HashSet};

/// Added to mean squares before their root.
const EPS: f32 = 1e-6;

/// Which rows get logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// The last row only.
    Last,
    /// Every row.
    All,
    /// So many rows, whose numbers the caller writes to [`Graph::picked`].
    Picked(usize),
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Independent sequences.
    pub batch: usize,
    /// Tokens of each.
    pub steps: usize,
    /// Which rows get logits.
    pub logits: Logits,
    /// The caller writes the routed ids; the router's own choice is left out.
    pub forced: bool,
    /// Layers share their activation buffers: smaller and warmer, but nothing is left for a gradient.
    pub reuse: bool,
    /// Windows of sound that are heard.
    pub sounds: usize,
    /// Pictures that are seen.
    pub pictures: usize,
    /// Turns whose vectors are wanted.
    pub turns: usize,
    /// Sections that a device wrote, if they are to be used.
    pub plastic: Option<Plastic>,
    /// Begin behind this layer's own sections, with its plastic ones: what enters is the caller's, and so is what it opens.
    pub from: Option<usize>,
    /// Keep what enters behind this layer's own sections.
    pub keep: Option<usize>,
}
impl Shape {
    /// Tokens alone, a buffer for each activation, the router's own choice.
    pub fn new(batch: usize, steps: usize, logits: Logits) -> Self {
        Self {
            batch,
            steps,
            logits,
            forced: false,
            reuse: false,
            sounds: 0,
            pictures: 0,
            turns: 0,
            plastic: None,
            from: None,
            keep: None,
        }
    }
    /// The same, with layers sharing their activation buffers.
    pub fn reused(self) -> Self {
        Self { reuse: true, ..self }
    }
}

/// The route of one layer in a graph.
#[derive(Clone, Debug)]
pub struct RouteBuffers {
    /// Selection scores [rows, S]; absent when forced or dense.
    pub scores: Option<Buffer>,
    /// Section ids [rows, slots], the shared ones first, ascending.
    pub ids: Buffer,
    /// Weights of the slots [rows, slots].
    pub gates: Buffer,
    /// Where the sections lie in the arena [rows, slots], for the caller to write at the start of this buffer; absent
    /// when all are resident.
    pub places: Option<Buffer>,
}

/// A recording with its ends.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Where sections come and go, the operations up to the route of each layer, from that of the layer before on.
    pub heads: Vec<Recording>,
    /// The operations, or what is left of them after the last route.
    pub recording: Recording,
    /// Token ids [batch * steps].
    pub ids: Buffer,
    /// Logits [rows, V], at the start of this buffer.
    pub logits: Buffer,
    /// What enters behind a layer's own sections, if it is kept or comes from the caller.
    pub entering: Option<Entering>,
    /// Ids and openings of the plastic sections of each row [rows, [`OPEN`]], if there are any.
    pub opened: Option<(View, View)>,
    /// Numbers of the rows that get logits, if the caller picks them.
    pub picked: Option<Buffer>,
    /// Vectors of turns, if they are wanted.
    pub turns: Option<TurnBuffers>,
    /// What is heard, if anything.
    pub sounds: Option<SenseBuffers>,
    /// What is seen, if anything.
    pub pictures: Option<SenseBuffers>,
    /// The route of each layer.
    pub routes: Vec<RouteBuffers>,
}

/// What comes behind a layer's own sections, where its plastic ones come in.
#[derive(Clone, Debug)]
pub struct Entering {
    /// Rows of the residual stream [rows, D].
    pub rows: View,
    /// The normed rows [rows, D] that the layer's sections read.
    pub normed: View,
}

/// Vectors of turns.
#[derive(Clone, Debug)]
pub struct TurnBuffers {
    /// For each row the number of its turn, or [`lichen_shaders::NONE`].
    pub rows: Buffer,
    /// Their means [turns, width].
    pub means: Buffer,
}

/// State of the recurrent blocks, on a device.
#[derive(Clone, Debug)]
pub struct StateBuffers {
    /// Sequences.
    pub batch: usize,
    /// For each layer, its parts by name.
    pub layers: Vec<Vec<(&'static str, Buffer)>>,
    /// `live, position, emitted, state of the grammar`; `live` 0 freezes the state of the blocks.
    pub control: Buffer,
}

impl StateBuffers {
    /// Declares the state of `batch` sequences.
    pub fn declare(config: &Config, batch: usize) -> Self {
        let c = config;
        let part = |i: usize, name: &'static str, len: usize| {
            (name, Buffer::new(format!("state.{i}.{name}"), Kind::Real, Role::State, batch * len))
        };
        let layer = |i: usize| match c.mixer {
            Mixer::Mcsd => vec![part(i, "slope", 2 * c.width), part(i, "decay", c.width)],
            mixer => {
                let mut all = vec![part(i, "conv", 3 * c.conv_channels()), part(i, "slope", c.heads * c.value)];
                if mixer != Mixer::Slope {
                    all.push(part(i, "scan", c.heads * c.key * c.value));
                }
                all
            }
        };
        let mut layers: Vec<Vec<_>> = (0..c.layers).map(layer).collect();
        if c.turn > 0 {
            // What was said so far, which sections of the plastic pool it opened and muted, and notes.
            layers[c.turn_layer()].push(part(c.turn_layer(), "latch", c.turn + 3 + 2 * OPEN + MUTED));
        }
        Self { batch, layers, control: Buffer::new("control", Kind::Index, Role::State, 4) }
    }
    /// Sets everything to the start of a stream.
    pub fn reset(&self, device: &Device) -> Result<(), Error> {
        for (_, buffer) in self.layers.iter().flatten() {
            device.write(&buffer.view(), &vec![0f32; buffer.len()])?;
        }
        Ok(device.write(&self.control.view(), &[1u32, 0, 0, 0])?)
    }
    fn part(&self, layer: usize, name: &str) -> Result<View, Error> {
        let found = self.layers.get(layer).and_then(|parts| parts.iter().find(|(n, _)| *n == name));
        found.map(|(_, b)| b.view()).ok_or_else(|| Error::State(format!("layer {layer} has no {name}")))
    }
}

/// Activation buffers that graphs of one model share, one after the other: each takes the start of what it needs.
#[derive(Debug, Default)]
pub struct Pool(HashMap<String, Buffer>);

/// Builds the recording of a shape. `ids` may name the buffer that the tokens come from.
pub fn build(
    config: &Config,
    weights: &Weights,
    state: &StateBuffers,
    device: &Device,
    shape: &Shape,
    ids: Option<Buffer>,
) -> Result<Graph, Error> {
    build_in(&mut Pool::default(), config, weights, state, device, shape, ids)
}

/// The same, with activations that earlier graphs left. Build the largest first.
pub fn build_in(
    pool: &mut Pool,
    config: &Config,
    weights: &Weights,
    state: &StateBuffers,
    device: &Device,
    shape: &Shape,
    ids: Option<Buffer>,
) -> Result<Graph, Error> {
    let rows = shape.batch * shape.steps;
    let ids = ids.unwrap_or_else(|| Buffer::new("ids", Kind::Index, Role::Scratch, rows));
    let recording = Recording::new(format!("{}x{}", shape.batch, shape.steps));
    let mut b = Builder {
        c: config,
        weights,
        state,
        device,
        shape,
        ids: ids.clone(),
        rows,
        heads: Vec::new(),
        recording,
        pool,
        used: HashSet::new(),
        layer: 0,
        routes: Vec::new(),
        turns: None,
        opened: None,
        entering: None,
    };
    let mut x = match shape.from {
        None => b.embed(&ids)?,
        Some(layer) => b.enter(layer)?,
    };
    let sounds = (shape.sounds > 0).then(|| b.hear(shape.sounds, &x)).transpose()?;
    let pictures = (shape.pictures > 0).then(|| b.see(shape.pictures, &x)).transpose()?;
    for layer in shape.from.map_or(0, |layer| layer + 1)..config.layers {
        b.layer = layer;
        x = match config.mixer {
            Mixer::Mcsd => b.mcsd(&x)?,
            _ => b.slope_delta(&x)?,
        };
        x = b.sections(&x)?;
    }
    let picked = match shape.logits {
        Logits::Picked(n) => Some(Buffer::new("picked", Kind::Index, Role::Scratch, n)),
        Logits::Last | Logits::All => None,
    };
    let logits = b.head(&x, picked.as_ref())?;
    Ok(Graph {
        heads: b.heads,
        recording: b.recording,
        ids,
        logits,
        picked,
        turns: b.turns,
        opened: b.opened,
        entering: b.entering,
        sounds,
        pictures,
        routes: b.routes,
    })
}

struct Builder<'a> {
    c: &'a Config,
    weights: &'a Weights,
    state: &'a StateBuffers,
    device: &'a Device,
    shape: &'a Shape,
    ids: Buffer,
    rows: usize,
    heads: Vec<Recording>,
    recording: Recording,
    pool: &'a mut Pool,
    /// Labels that this graph has taken.
    used: HashSet<String>,
    layer: usize,
    routes: Vec<RouteBuffers>,
    turns: Option<TurnBuffers>,
    opened: Option<(View, View)>,
    entering: Option<Entering>,
}

impl Builder<'_> {
    fn push(&mut self, call: Call, args: &[View]) -> Result<(), Error> {
        Ok(self.recording.push(call, args)?)
    }
    /// An activation of `width` elements a row.
    fn scratch(&mut self, name: &'static str, width: usize) -> View {
        self.buffer(name, Kind::Real, self.rows * width)
    }
    fn buffer(&mut self, name: &'static str, kind: Kind, len: usize) -> View {
        let label = if self.shape.reuse { name.to_string() } else { format!("{}.{name}", self.layer) };
        self.pooled(label, kind, len).slice(0, len)
    }
    /// A buffer of at least so many elements that nothing else of this graph uses, unless layers share theirs.
    fn pooled(&mut self, label: String, kind: Kind, len: usize) -> Buffer {
        let free = self.used.insert(label.clone()) || self.shape.reuse;
        if let Some(buffer) = self.pool.0.get(&label).filter(|b| free && b.len() >= len && b.kind() == kind) {
            return buffer.clone();
        }
        let buffer = Buffer::new(label.clone(), kind, Role::Scratch, len);
        self.pool.0.insert(label, buffer.clone());
        buffer
    }
    /// A weight of this layer.
    fn weight(&self, part: &str) -> Result<View, Error> {
        Ok(self.weights.buffer(&format!("layers.{}.{part}", self.layer))?.view())
    }
    fn state(&self, part: &str) -> Result<View, Error> {
        self.state.part(self.layer, part)
    }
    fn live(&self) -> View {
        self.state.control.slice(0, 1)
    }

    fn norm(&mut self, name: &'static str, x: &View, gain: View, width: usize, gains: usize) -> Result<View, Error> {
        let y = self.scratch(name, x.len / self.rows);
        let call = rms_norm::call(rms_norm::Params {
            rows: (x.len / width) as u32,
            width: width as u32,
            gains: gains as u32,
            eps: EPS,
        });
        self.push(call, &[x.clone(), gain, y.clone()])?;
        Ok(y)
    }
    /// The rows of x in 8 bits.
    fn quantize(&mut self, name: &'static str, x: &View, rows: usize) -> Result<View, Error> {
        let width = x.len / rows;
        let q = self.buffer(name, Kind::Index, rows * quantize::row_words(width));
        let (rows, inputs) = (rows as u32, width as u32);
        let call = quantize::call(quantize::Params { rows, inputs, x_stride: inputs, x_offset: 0 });
        self.push(call, &[x.clone(), q.clone()])?;
        Ok(q)
    }
    /// `y = x W^T` on whole rows of x, W being a weight of this layer: by integers where W has few enough bits.
    fn project_whole(
        &mut self,
        name: &'static str,
        integers: &'static str,
        x: &View,
        part: &str,
    ) -> Result<View, Error> {
        let parts = self.weights.parts(&format!("layers.{}.{part}", self.layer))?;
        let inputs = x.len / self.rows;
        let Some(format) = parts.format.filter(|f| f.has_scales()) else {
            return self.project(name, x, 0, inputs, part, 1);
        };
        let (outputs, w) = (parts.spec.len() / inputs, parts.buffers[0].view());
        let q = self.quantize(integers, x, self.rows)?;
        let y = self.scratch(name, outputs);
        let (rows, inputs, outputs, format) = (self.rows as u32, inputs as u32, outputs as u32, format.code());
        let call = matmul_quantized::call(matmul_quantized::Params { rows, inputs, outputs, format });
        self.push(call, &[q, w, y.clone()])?;
        Ok(y)
    }
    /// `y = x W^T` on columns `offset .. offset + inputs` of x, W being a weight of this layer.
    fn project(
        &mut self,
        name: &'static str,
        x: &View,
        offset: usize,
        inputs: usize,
        part: &str,
        groups: usize,
    ) -> Result<View, Error> {
        let parts = self.weights.parts(&format!("layers.{}.{part}", self.layer))?;
        let outputs = parts.spec.len() * groups / inputs;
        let (w, format) = (parts.buffers[0].view(), parts.format);
        let y = self.scratch(name, outputs);
        if let Some(format) = format {
            let call = matmul_packed::call(matmul_packed::Params {
                rows: self.rows as u32,
                inputs: inputs as u32,
                outputs: outputs as u32,
                x_stride: (x.len / self.rows) as u32,
                x_offset: offset as u32,
                format: format.code(),
            });
            self.push(call, &[x.clone(), w, y.clone()])?;
            return Ok(y);
        }
        let call = matmul::call(matmul::Params {
            rows: self.rows as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            groups: groups as u32,
            x_stride: (x.len / self.rows) as u32,
            x_offset: offset as u32,
        });
        self.push(call, &[x.clone(), w, y.clone()])?;
        Ok(y)
    }
    fn gate(&mut self, name: &'static str, silu: bool, a: &View, b: &View) -> Result<View, Error> {
        let width = a.len / self.rows;
        let y = self.scratch(name, width);
        let (rows, width) = (self.rows as u32, width as u32);
        let act = u32::from(silu);
        let call =
            gate::call(gate::Params { rows, width, act, a_stride: width, a_offset: 0, b_stride: width, b_offset: 0 });
        self.push(call, &[a.clone(), b.clone(), y.clone()])?;
        Ok(y)
    }
    fn add(&mut self, name: &'static str, a: &View, b: &View) -> Result<View, Error> {
        let y = self.scratch(name, a.len / self.rows);
        self.push(add::call(add::Params { len: a.len as u32 }), &[a.clone(), b.clone(), y.clone()])?;
        Ok(y)
    }

    fn embed(&mut self, ids: &Buffer) -> Result<View, Error> {
        let d = self.c.width;
        let x = self.scratch("x", d);
        let parts = self.weights.parts("embed")?;
        // The tied table is small for the head's sake; the residual stream starts near unit size.
        let (rows, width, scale) = (self.rows as u32, d as u32, (d as f32).sqrt());
        for (i, table) in parts.buffers.iter().enumerate() {
            let (first, count) = ((i * parts.rows) as u32, parts.rows.min(self.c.vocab - i * parts.rows) as u32);
            let call = match parts.format {
                None => embed::call(embed::Params { rows, width, first, count, scale }),
                Some(format) => {
                    let format = format.code();
                    embed_packed::call(embed_packed::Params { rows, width, first, count, scale, format })
                }
            };
            self.push(call, &[ids.view(), table.view(), x.clone()])?;
        }
        Ok(x)
    }

    /// What comes from the caller, with what it opens of the layer's plastic sections.
    fn enter(&mut self, layer: usize) -> Result<View, Error> {
        self.layer = layer;
        let input = |label, width| Buffer::new(label, Kind::Real, Role::State, self.rows * width).view();
        let entering = Entering { rows: input("entering", self.c.width), normed: input("entering.z", self.c.width) };
        if self.shape.plastic.is_some() {
            let ids = Buffer::new("opened.ids", Kind::Index, Role::State, self.rows * OPEN);
            self.opened = Some((ids.view(), input("opened", OPEN)));
        }
        let x = self.plastic(&entering.normed, entering.rows.clone())?;
        self.entering = Some(entering);
        Ok(x)
    }

    /// The slope-delta block and its two halves: conv, slope, delta, gated output.
    fn slope_delta(&mut self, x: &View) -> Result<View, Error> {
        let c = self.c;
        let (batch, steps, rows) = (self.shape.batch as u32, self.shape.steps as u32, self.rows as u32);
        let (heads, key, value) = (c.heads as u32, c.key as u32, c.value as u32);
        let (channels, hv) = (c.conv_channels(), c.heads * c.value);
        let gain = self.weight("mix.norm")?;
        let n = self.norm("mix.n", x, gain, c.width, 1)?;
        let proj = self.project_whole("mix.proj", "mix.n8", &n, "mix.in")?;
        let proj_stride = c.projection() as u32;

        let conv = self.scratch("mix.conv", channels);
        let call = conv::call(conv::Params {
            batch,
            steps,
            width: channels as u32,
            x_stride: proj_stride,
            x_offset: 0,
            silu: 1,
        });
        self.push(call, &[proj.clone(), self.weight("mix.conv")?, self.state("conv")?, self.live(), conv.clone()])?;

        // The delta branch alone is the same with a slope gain that stays zero.
        let v = self.scratch("mix.v", hv);
        let gate_offset = if c.mixer == Mixer::Slope { channels } else { channels + c.rank };
        let x_offset = c.value_offset() as u32;
        let call = slope::call(slope::Params { batch, steps, width: hv as u32, x_stride: channels as u32, x_offset });
        let (rate, gain) = (self.weight("mix.slope_rate")?, self.weight("mix.slope_gain")?);
        self.push(call, &[conv.clone(), rate, gain, self.state("slope")?, self.live(), v.clone()])?;

        let o = if c.mixer == Mixer::Slope {
            v
        } else {
            let decay = self.project("mix.decay", &proj, channels, c.rank, "mix.decay", 1)?;
            let keys = self.scratch("mix.keys", c.heads * 5 * c.key);
            let call = delta_inputs::call(delta_inputs::Params {
                rows,
                heads,
                key,
                x_stride: channels as u32,
                beta_stride: proj_stride,
                beta_offset: (channels + 2 * c.rank) as u32,
            });
            self.push(call, &[conv, decay, self.weight("mix.decay_bias")?, proj.clone(), keys.clone()])?;
            let o = self.scratch("mix.o", hv);
            let call = scan::call(scan::Params { batch, steps, heads, key, value });
            self.push(call, &[keys, v, self.state("scan")?, self.live(), o.clone()])?;
            o
        };
        let gain = self.weight("mix.head_norm")?;
        let o = self.norm("mix.on", &o, gain, c.value, c.heads)?;
        let g = self.project("mix.g", &proj, gate_offset, c.rank, "mix.gate", 1)?;
        let og = self.gate("mix.og", true, &g, &o)?;
        let y = self.project_whole("mix.y", "mix.og8", &og, "mix.out")?;
        self.add("x.mix", x, &y)
    }

    /// MCSD's block as published: a slope branch gating the present, a decay branch gated by it, fused linearly.
    fn mcsd(&mut self, x: &View) -> Result<View, Error> {
        let c = self.c;
        let (batch, steps, width, channels) =
            (self.shape.batch as u32, self.shape.steps as u32, c.width as u32, c.heads as u32);
        let gain = self.weight("mix.norm")?;
        let n = self.norm("mix.n", x, gain, c.width, 1)?;
        let mut branch = Vec::new();
        for part in ["mix.u", "mix.v", "mix.e", "mix.f"] {
            branch.push(self.project(part, &n, 0, c.width, part, c.heads)?);
        }
        let past = self.scratch("mix.past", c.width);
        let call = mcsd_slope::call(mcsd_slope::Params { batch, steps, width, channels, x_stride: width, x_offset: 0 });
        self.push(call, &[branch[1].clone(), self.state("slope")?, self.live(), past.clone()])?;
        let slope = self.gate("mix.slope", true, &past, &branch[0])?;
        let long = self.scratch("mix.long", c.width);
        let call = mcsd_decay::call(mcsd_decay::Params { batch, steps, width, channels, x_stride: width, x_offset: 0 });
        self.push(call, &[branch[2].clone(), self.state("decay")?, self.live(), long.clone()])?;
        let gain = self.weight("mix.decay_norm")?;
        let long = self.norm("mix.longn", &long, gain, c.width / c.heads, c.heads)?;
        let decay = self.gate("mix.decay", false, &branch[3], &long)?;
        // The linear map over the two concatenated branches, as two maps whose results add.
        let from_slope = self.project("mix.ys", &slope, 0, c.width, "mix.out_slope", 1)?;
        let from_decay = self.project("mix.yd", &decay, 0, c.width, "mix.out_decay", 1)?;
        let y = self.add("mix.y", &from_slope, &from_decay)?;
        self.add("x.mix", x, &y)
    }

    fn head(&mut self, x: &View, picked: Option<&Buffer>) -> Result<Buffer, Error> {
        let (c, d) = (self.c, self.c.width);
        let gain = self.weights.buffer("norm")?.view();
        let (rows, from) = match self.shape.logits {
            Logits::All => (self.rows, x.clone()),
            Logits::Last => (1, x.buffer.slice(x.offset + (self.rows - 1) * d, d)),
            Logits::Picked(n) => {
                let rows = self.pooled("head.x".into(), Kind::Real, n * d).slice(0, n * d);
                let (width, count) = (d as u32, self.rows as u32);
                let call = embed::call(embed::Params { rows: n as u32, width, first: 0, count, scale: 1.0 });
                let ids = picked.map(Buffer::view).ok_or_else(|| Error::Train("no rows are picked".into()))?;
                self.push(call, &[ids, x.clone(), rows.clone()])?;
                (n, rows)
            }
        };
        let n = self.pooled("head.n".into(), Kind::Real, rows * d).slice(0, rows * d);
        let call = rms_norm::call(rms_norm::Params { rows: rows as u32, width: d as u32, gains: 1, eps: EPS });
        self.push(call, &[from, gain, n.clone()])?;
        let logits = self.pooled("logits".into(), Kind::Real, rows * c.vocab);
        let parts = self.weights.parts("embed")?.clone();
        if rows > 1 && parts.buffers.len() > 1 {
            return Err(Error::Train("a vocabulary table beyond 64 MiB gives logits for one row at a time".into()));
        }
        let integers = parts.format.is_some_and(Format::has_scales);
        let n = if integers { self.quantize("head.n8", &n, rows)? } else { n };
        for (i, table) in parts.buffers.iter().enumerate() {
            let outputs = parts.rows.min(c.vocab - i * parts.rows);
            let (rows, inputs, outs) = (rows as u32, d as u32, outputs as u32);
            let call = match parts.format {
                None => matmul::call(matmul::Params {
                    rows,
                    inputs,
                    outputs: outs,
                    groups: 1,
                    x_stride: inputs,
                    x_offset: 0,
                }),
                Some(format) if integers => {
                    let format = format.code();
                    matmul_quantized::call(matmul_quantized::Params { rows, inputs, outputs: outs, format })
                }
                Some(format) => matmul_packed::call(matmul_packed::Params {
                    rows,
                    inputs,
                    outputs: outs,
                    x_stride: inputs,
                    x_offset: 0,
                    format: format.code(),
                }),
            };
            self.push(
                call,
                &[n.clone(), table.view(), logits.slice(i * parts.rows * rows as usize, outputs * rows as usize)],
            )?;
        }
        Ok(logits)
    }
}
