//! Routes made visible: rows of shades in the terminal, pictures, and what two inputs share.

use crate::failure::{Done, Failure};
use image::{Rgb, RgbImage};
use lichen::session::RouteMap;
use std::path::Path;

/// Shades from nothing to most.
const SHADES: [char; 5] = ['·', '░', '▒', '▓', '█'];
/// Pixels of a cell of a picture, and between layers.
const CELL: u32 = 6;
const GAP: u32 = 6;

/// A row for each layer: how much the input woke each section.
pub(crate) fn lines(map: &RouteMap) -> Vec<String> {
    let line = |layer: usize| {
        let heat = map.heat(layer);
        let most = heat.iter().copied().fold(f32::MIN_POSITIVE, f32::max);
        let shade = |&h: &f32| match h {
            h if h <= 0.0 => SHADES[0],
            h => SHADES[1 + ((h / most * 4.0) as usize).min(3)],
        };
        let row: String = heat.iter().map(shade).collect();
        let woken = heat.iter().filter(|h| **h > 0.0).count();
        format!("layer {layer:<2} {row} {woken} of {}", heat.len())
    };
    (0..map.layers.len()).map(line).collect()
}

/// A picture: for each layer a band with a column for each row of the input and a line for each section.
pub(crate) fn png(map: &RouteMap, path: &Path) -> Done {
    let (rows, layers) = (map.rows() as u32, map.layers.len() as u32);
    let width = rows.max(1) * CELL;
    let band = map.sections as u32 * CELL / 2 + GAP;
    let mut picture = RgbImage::from_pixel(width, (layers * band).max(1), Rgb([250, 250, 247]));
    for (layer, picks) in map.layers.iter().enumerate() {
        for (row, picks) in picks.iter().enumerate() {
            for &(id, gate) in picks {
                let depth = gate.clamp(0.0, 1.0);
                let mix = |from: f32, to: f32| (from + (to - from) * depth) as u8;
                let color = Rgb([mix(214.0, 20.0), mix(226.0, 92.0), mix(202.0, 60.0)]);
                let (x, y) = (row as u32 * CELL, layer as u32 * band + id * CELL / 2);
                for (dx, dy) in (0..CELL).flat_map(|dx| (0..CELL / 2).map(move |dy| (dx, dy))) {
                    picture.put_pixel(x + dx, y + dy, color);
                }
            }
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|e| Failure::Failed(format!("the picture cannot be made: {e}")))?;
    crate::files::write(path, |out| {
        std::io::Write::write_all(out, bytes.get_ref()).map_err(|e| Failure::file("write", path, &e))
    })
}
