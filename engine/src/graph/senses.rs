//! The stems: windows of sound and pictures to vectors that stand where tokens do.

use super::{Builder, EPS};
use crate::error::Error;
use crate::frontend::{BANDS, GRID, SIDE, SPAN};
use lichen_host::{Buffer, Role, View};
use lichen_shaders::kernel::Kind;
use lichen_shaders::{add, conv2d, embed, rms_norm};

/// What a graph hears or sees: the numbers that go in, and which vector each row takes.
#[derive(Clone, Debug)]
pub struct SenseBuffers {
    /// Windows [n, 7, 40] or pictures [n, 32, 32, 3].
    pub input: Buffer,
    /// For each row the number of its vector, or [`lichen_shaders::NONE`].
    pub rows: Buffer,
}

/// Vectors of a picture.
pub const PICTURE: usize = GRID * GRID;

impl Builder<'_> {
    /// Writes the vectors of `n` windows to the rows that ask for them.
    pub(super) fn hear(&mut self, n: usize, x: &View) -> Result<SenseBuffers, Error> {
        let input = self.input("hear.in", n * SPAN * BANDS);
        let plain = conv2d::Params {
            batch: n as u32,
            kernel_h: 3,
            kernel_w: 3,
            stride_h: 2,
            stride_w: 2,
            pad_w: 1,
            silu: 1,
            ..Default::default()
        };
        // In time every output sees only its own frames, so a window needs nothing around it.
        let first = conv2d::Params {
            in_h: SPAN as u32,
            in_w: BANDS as u32,
            in_c: 1,
            out_h: 3,
            out_w: BANDS as u32 / 2,
            ..plain
        };
        let second = conv2d::Params { in_h: 3, in_w: BANDS as u32 / 2, out_h: 1, out_w: BANDS as u32 / 4, ..plain };
        let vectors = self.stem("hear", &input.view(), first, second, [1, 1])?;
        let rows = self.place(n, &vectors, x)?;
        Ok(SenseBuffers { input, rows })
    }

    /// Writes the vectors of `n` pictures, 16 each, to the rows that ask for them.
    pub(super) fn see(&mut self, n: usize, x: &View) -> Result<SenseBuffers, Error> {
        let input = self.input("see.in", n * SIDE * SIDE * 3);
        let plain = conv2d::Params {
            batch: n as u32,
            in_h: SIDE as u32,
            in_w: SIDE as u32,
            kernel_h: 3,
            kernel_w: 3,
            pad_h: 1,
            pad_w: 1,
            silu: 1,
            ..Default::default()
        };
        let half = SIDE as u32 / 2;
        let side = SIDE as u32;
        let first = conv2d::Params { in_c: 3, out_h: side, out_w: side, stride_h: 1, stride_w: 1, ..plain };
        let second = conv2d::Params { out_h: half, out_w: half, stride_h: 2, stride_w: 2, ..plain };
        let vectors = self.stem("see", &input.view(), first, second, [GRID, GRID])?;
        let rows = self.place(n * PICTURE, &vectors, x)?;
        Ok(SenseBuffers { input, rows })
    }

    fn input(&mut self, label: &str, len: usize) -> Buffer {
        Buffer::new(label, Kind::Real, Role::Scratch, len)
    }

    /// Two convolutions, a linear map of each patch of the `grid` of what they leave, places where it has several, norm.
    fn stem(
        &mut self,
        stem: &'static str,
        input: &View,
        first: conv2d::Params,
        second: conv2d::Params,
        grid: [usize; 2],
    ) -> Result<View, Error> {
        let d = self.c.width;
        let channels =
            |part: &str| -> Result<usize, Error> { Ok(self.weights.parts(&format!("{stem}.{part}"))?.spec.shape[0]) };
        let (one, two) = (channels("first")? as u32, channels("second")? as u32);
        let first = conv2d::Params { out_c: one, ..first };
        let second = conv2d::Params { in_c: one, out_c: two, ..second };
        let [rows, columns] = grid.map(|n| n as u32);
        let (patch_h, patch_w) = (second.out_h / rows, second.out_w / columns);
        let out = conv2d::Params {
            batch: first.batch,
            in_h: second.out_h,
            in_w: second.out_w,
            in_c: two,
            out_h: rows,
            out_w: columns,
            out_c: d as u32,
            kernel_h: patch_h,
            kernel_w: patch_w,
            stride_h: patch_h,
            stride_w: patch_w,
            ..Default::default()
        };
        let mut y = input.clone();
        for (part, params) in [("first", first), ("second", second), ("out", out)] {
            let weight = |name: String| Ok::<_, Error>(self.weights.buffer(&name)?.view());
            let (w, bias) = (weight(format!("{stem}.{part}"))?, weight(format!("{stem}.{part}_bias"))?);
            let len = params.places() as usize * params.out_c as usize;
            let next = self.pooled(format!("{stem}.{part}"), Kind::Real, len).slice(0, len);
            self.push(conv2d::call(params), &[y, w, bias, next.clone()])?;
            y = next;
        }
        let vectors = y.len / d;
        if grid != [1, 1] {
            let each = grid[0] * grid[1];
            let ids = Buffer::new(format!("{stem}.places"), Kind::Index, Role::Scratch, vectors);
            self.device.write(&ids.view(), &(0..vectors).map(|i| (i % each) as u32).collect::<Vec<_>>())?;
            let places = self.pooled(format!("{stem}.place"), Kind::Real, y.len).slice(0, y.len);
            let (rows, width, count) = (vectors as u32, d as u32, each as u32);
            let call = embed::call(embed::Params { rows, width, first: 0, count, scale: 1.0 });
            let table = self.weights.buffer(&format!("{stem}.place"))?.view();
            self.push(call, &[ids.view(), table, places.clone()])?;
            let sum = self.pooled(format!("{stem}.sum"), Kind::Real, y.len).slice(0, y.len);
            self.push(add::call(add::Params { len: y.len as u32 }), &[y, places, sum.clone()])?;
            y = sum;
        }
        let normed = self.pooled(format!("{stem}.normed"), Kind::Real, y.len).slice(0, y.len);
        let call = rms_norm::call(rms_norm::Params { rows: vectors as u32, width: d as u32, gains: 1, eps: EPS });
        let gain = self.weights.buffer(&format!("{stem}.norm"))?.view();
        self.push(call, &[y, gain, normed.clone()])?;
        Ok(normed)
    }

    /// Writes vectors to the rows of x that name them; other rows stay as they are.
    fn place(&mut self, n: usize, vectors: &View, x: &View) -> Result<Buffer, Error> {
        let rows = Buffer::new("vectors of rows", Kind::Index, Role::Scratch, self.rows);
        let (count, width) = (n as u32, self.c.width as u32);
        let call = embed::call(embed::Params { rows: self.rows as u32, width, first: 0, count, scale: 1.0 });
        self.push(call, &[rows.view(), vectors.clone(), x.clone()])?;
        Ok(rows)
    }
}
