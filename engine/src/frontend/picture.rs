//! Pictures: PNG, JPEG or raw pixels to a square of [`SIDE`] pixels a side.

use crate::error::Error;
use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Rgb32FImage};
use std::io::Cursor;

/// Pixels of a side of the square that the stem reads.
pub const SIDE: usize = 32;
/// Vectors along a side: the stem makes this number squared of a picture.
pub const GRID: usize = 4;
/// Most pixels of a picture.
pub const MOST_PIXELS: u64 = 64_000_000;
/// Most bytes that a decoded picture may take.
pub const MOST_BYTES: u64 = 512 << 20;

/// Why a picture cannot be seen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// Other bytes than those of a PNG or JPEG file.
    #[error("neither a PNG nor a JPEG file")]
    Unknown,
    /// A PNG or JPEG file that ends early or contradicts itself.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// A PNG or JPEG file of a kind that is not read.
    #[error("the file is of a kind that is not read: {0}")]
    Kind(String),
    /// Larger than [`MOST_PIXELS`] or [`MOST_BYTES`].
    #[error("{width} by {height} pixels are too many: up to {} million and {} MiB are taken", MOST_PIXELS / 1_000_000, MOST_BYTES >> 20)]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Raw pixels that do not fill their rows and columns, or none.
    #[error("{got} bytes for {width} by {height} pixels of {channels}")]
    Length {
        /// Bytes.
        got: usize,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Bytes of a pixel.
        channels: usize,
    },
}

/// A picture as the stem reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Rows, columns, channels (red, green, blue) [32, 32, 3] from -1 to 1.
    ///
    /// A picture larger than the square is made to fit by averaging areas, its sides' ratio kept; a smaller one keeps
    /// its pixels. It lies in the middle; around it is the mean colour of its outermost pixels.
    pub pixels: Vec<f32>,
}

/// The picture in a PNG or JPEG file: transparent parts lie on white, and the orientation that a camera wrote down is
/// followed.
///
/// # Errors
/// [`Error::Picture`]; its [`PictureError`] says what is wrong with the bytes. A picture that is too large is refused
/// before anything is allocated for it.
pub fn see(bytes: &[u8]) -> Result<Picture, Error> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| PictureError::Unknown)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(PictureError::Unknown.into());
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| damage(e, (0, 0)))?;
    let size @ (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS || decoder.total_bytes() > MOST_BYTES {
        return Err(PictureError::TooLarge { width, height }.into());
    }
    // Damage in what says how the camera was held is no reason to refuse the picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let image = DynamicImage::from_decoder(decoder).map_err(|e| damage(e, size))?;
    let (width, height) = (width as usize, height as usize);
    Ok(match &image {
        // The common kinds without a detour; all others through a pixel that knows every kind.
        DynamicImage::ImageRgb8(image) => {
            let rows = image.as_raw();
            fit(width, height, orientation, |x, y| rgb(&rows[(y * width + x) * 3..]))
        }
        DynamicImage::ImageLuma8(image) => {
            let rows = image.as_raw();
            fit(width, height, orientation, |x, y| [f32::from(rows[y * width + x]); 3])
        }
        other => fit(width, height, orientation, |x, y| {
            let [r, g, b, a] = other.get_pixel(x as u32, y as u32).0.map(f32::from);
            [r, g, b].map(|c| 255.0 + (c - 255.0) * (a / 255.0))
        }),
    })
}

impl Picture {
    /// Of raw grey levels [height, width], 0 being black.
    ///
    /// # Errors
    /// [`Error::Picture`]: another number of bytes, or none.
    pub fn from_gray(levels: &[u8], width: usize, height: usize) -> Result<Self, Error> {
        check(levels.len(), width, height, 1)?;
        Ok(fit(width, height, Orientation::NoTransforms, |x, y| [f32::from(levels[y * width + x]); 3]))
    }

    /// Of raw colours [height, width, 3], red first.
    ///
    /// # Errors
    /// [`Error::Picture`]: another number of bytes, or none.
    pub fn from_rgb(colours: &[u8], width: usize, height: usize) -> Result<Self, Error> {
        check(colours.len(), width, height, 3)?;
        Ok(fit(width, height, Orientation::NoTransforms, |x, y| rgb(&colours[(y * width + x) * 3..])))
    }
}

fn rgb(pixel: &[u8]) -> [f32; 3] {
    [pixel[0], pixel[1], pixel[2]].map(f32::from)
}

fn check(got: usize, width: usize, height: usize, channels: usize) -> Result<(), PictureError> {
    let want = width.checked_mul(height).and_then(|n| n.checked_mul(channels));
    if got == 0 || want != Some(got) {
        return Err(PictureError::Length { got, width, height, channels });
    }
    Ok(())
}

fn damage(error: ImageError, (width, height): (u32, u32)) -> PictureError {
    match error {
        ImageError::Limits(_) => PictureError::TooLarge { width, height },
        ImageError::Unsupported(e) => PictureError::Kind(e.to_string()),
        e => PictureError::Damaged(e.to_string()),
    }
}

/// Fits a picture of at least one pixel, whose levels go from 0 to 255, into the square.
fn fit(width: usize, height: usize, turn: Orientation, at: impl Fn(usize, usize) -> [f32; 3]) -> Picture {
    let border = border(width, height, &at);
    let longest = width.max(height).max(SIDE);
    let scaled = |side: usize| ((side * SIDE + longest / 2) / longest).max(1);
    let (mut columns, mut rows) = (scaled(width), scaled(height));
    let mut small = shrink([width, height], [columns, rows], &at);
    if turn != Orientation::NoTransforms
        && let Some(image) = Rgb32FImage::from_raw(columns as u32, rows as u32, small.clone())
    {
        // Turned when it is small: a large one would have to be copied.
        let mut image = DynamicImage::ImageRgb32F(image);
        image.apply_orientation(turn);
        (columns, rows) = (image.width() as usize, image.height() as usize);
        small = image.into_rgb32f().into_raw();
    }
    let (left, top) = ((SIDE - columns) / 2, (SIDE - rows) / 2);
    let mut pixels = border.repeat(SIDE * SIDE);
    for (row, line) in small.chunks_exact(columns * 3).enumerate() {
        pixels[((top + row) * SIDE + left) * 3..][..columns * 3].copy_from_slice(line);
    }
    pixels.iter_mut().for_each(|x| *x = *x / 127.5 - 1.0);
    Picture { pixels }
}

/// The mean of the outermost pixels.
fn border(width: usize, height: usize, at: impl Fn(usize, usize) -> [f32; 3]) -> [f32; 3] {
    let (mut sum, mut count) = ([0.0f64; 3], 0.0);
    for y in 0..height {
        let step = if y == 0 || y == height - 1 { 1 } else { (width - 1).max(1) };
        for x in (0..width).step_by(step) {
            sum.iter_mut().zip(at(x, y)).for_each(|(sum, x)| *sum += f64::from(x));
            count += 1.0;
        }
    }
    sum.map(|sum| (sum / count) as f32)
}

/// Which cells an element of a longer row falls into, and how much of a cell it is: one cell, or two neighbours.
fn shares(element: usize, length: usize, cells: usize) -> [(usize, f64); 2] {
    let (start, end) = (element * cells, (element + 1) * cells);
    let first = start / length;
    let edge = ((first + 1) * length).min(end);
    [(first, (edge - start) as f64 / length as f64), (first + 1, (end - edge) as f64 / length as f64)]
}

/// Averages areas: [height, width] pixels to [rows, columns], which are not more, three numbers each.
fn shrink([width, height]: [usize; 2], [columns, rows]: [usize; 2], at: impl Fn(usize, usize) -> [f32; 3]) -> Vec<f32> {
    let across: Vec<_> = (0..width).map(|x| shares(x, width, columns)).collect();
    let mut sums = vec![0.0f64; rows * columns * 3];
    // One cell more for the share of nothing that the last element has in the next one.
    let mut line = vec![0.0f64; (columns + 1) * 3];
    for y in 0..height {
        line.fill(0.0);
        for (x, shares) in across.iter().enumerate() {
            let pixel = at(x, y);
            for (cell, share) in shares {
                let cell = &mut line[cell * 3..cell * 3 + 3];
                cell.iter_mut().zip(pixel).for_each(|(sum, level)| *sum += share * f64::from(level));
            }
        }
        for (row, share) in shares(y, height, rows).into_iter().filter(|(_, share)| *share > 0.0) {
            let row = &mut sums[row * columns * 3..][..columns * 3];
            row.iter_mut().zip(&line).for_each(|(sum, level)| *sum += share * level);
        }
    }
    sums.iter().map(|&sum| sum as f32).collect()
}

#[cfg(test)]
mod tests;
