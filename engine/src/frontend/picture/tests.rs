use super::*;
use crate::Random;
use image::{ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("is encoded");
    bytes.into_inner()
}
fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    encoded(image, ImageFormat::Png)
}
fn noise(width: u32, height: u32) -> RgbImage {
    let mut random = Random::new(u64::from(width * 1000 + height));
    RgbImage::from_fn(width, height, |_, _| Rgb([0; 3].map(|_: u8| random.bits() as u8)))
}
fn at(picture: &Picture, x: usize, y: usize) -> [f32; 3] {
    let start = (y * SIDE + x) * 3;
    [picture.pixels[start], picture.pixels[start + 1], picture.pixels[start + 2]]
}
fn level(x: u8) -> f32 {
    f32::from(x) / 127.5 - 1.0
}
fn near(a: [f32; 3], b: [f32; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}
fn error(bytes: &[u8]) -> PictureError {
    match see(bytes) {
        Err(Error::Picture(e)) => e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_pictures_keep_their_pixels() {
    for (width, height) in [(32, 32), (28, 28), (1, 1), (5, 31), (32, 2), (3, 3)] {
        let image = noise(width, height);
        let got = see(&png(image.clone())).expect("a picture");
        assert_eq!(got.pixels.len(), SIDE * SIDE * 3);
        let (left, top) = ((32 - width as usize) / 2, (32 - height as usize) / 2);
        let ring: Vec<_> = image
            .enumerate_pixels()
            .filter(|(x, y, _)| *x == 0 || *y == 0 || *x == width - 1 || *y == height - 1)
            .map(|(_, _, p)| p.0)
            .collect();
        let around = [0, 1, 2].map(|c| ring.iter().map(|p| level(p[c])).sum::<f32>() / ring.len() as f32);
        for y in 0..SIDE {
            for x in 0..SIDE {
                let inner = x.checked_sub(left).zip(y.checked_sub(top)).map(|(x, y)| (x as u32, y as u32));
                let want = match inner.filter(|&(x, y)| x < width && y < height) {
                    Some((x, y)) => image.get_pixel(x, y).0.map(level),
                    None => around,
                };
                assert!(near(at(&got, x, y), want), "{width}x{height} at {x}, {y}");
            }
        }
        let raw = Picture::from_rgb(image.as_raw(), width as usize, height as usize).expect("a picture");
        assert_eq!(raw, got);
    }
}

#[test]
fn a_white_digit_lies_on_black() {
    let mut levels = vec![0; 28 * 28];
    levels[14 * 28 + 10..14 * 28 + 18].fill(255);
    let digit = Picture::from_gray(&levels, 28, 28).expect("a picture");
    assert_eq!(at(&digit, 0, 0), [-1.0; 3]);
    assert_eq!(at(&digit, 12, 16), [1.0; 3]);
    let image = ImageBuffer::<Luma<u8>, _>::from_raw(28, 28, levels).expect("fits");
    assert_eq!(see(&png(image)).expect("a picture"), digit);
}

/// Each pixel of the square is the mean of the area that it covers.
#[test]
fn large_pictures_are_averaged() {
    for (width, height) in [(64, 64), (100, 37), (33, 33), (47, 320), (1, 500), (700, 2)] {
        let image = noise(width, height);
        let got = see(&png(image.clone())).expect("a picture");
        let longest = f64::from(width.max(height));
        let size = [width, height].map(|s| ((f64::from(s) * 32.0 / longest).round() as usize).max(1));
        let (left, top) = ((32 - size[0]) / 2, (32 - size[1]) / 2);
        let overlap = |cell: usize, cells: usize, i: u32, length: u32| {
            let scale = cells as f64 / f64::from(length);
            let (start, end) = (f64::from(i) * scale, f64::from(i + 1) * scale);
            (end.min(cell as f64 + 1.0) - start.max(cell as f64)).max(0.0)
        };
        for (column, row) in
            [(0, 0), (size[0] - 1, size[1] - 1), (size[0] / 2, size[1] / 2), (size[0] / 3, size[1] / 5)]
        {
            let mut want = [0.0; 3];
            for (x, y, pixel) in image.enumerate_pixels() {
                let share = overlap(column, size[0], x, width) * overlap(row, size[1], y, height);
                want.iter_mut().zip(pixel.0).for_each(|(w, p)| *w += share * f64::from(p));
            }
            let want = want.map(|w| (w / 127.5 - 1.0) as f32);
            assert!(near(at(&got, left + column, top + row), want), "{width}x{height}: {column}, {row}");
        }
    }
    // The sides' ratio is kept: two by one leaves a band above and below.
    let mut half = RgbImage::from_pixel(200, 100, Rgb([255, 0, 0]));
    half.enumerate_pixels_mut()
        .filter(|(x, y, _)| (1..199).contains(x) && (1..99).contains(y))
        .for_each(|(_, _, p)| *p = Rgb([0, 0, 255]));
    let got = see(&png(half)).expect("a picture");
    assert_eq!(
        [at(&got, 16, 7), at(&got, 16, 24), at(&got, 16, 16)],
        [[1.0, -1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0]]
    );
}

#[test]
fn every_kind_of_pixel_is_read() {
    let grey = ImageBuffer::from_fn(9, 7, |x, y| Luma([(x * 20 + y) as u8]));
    let want = see(&png(grey.clone())).expect("a picture");
    let wide = ImageBuffer::from_fn(9, 7, |x, y| Luma([u16::from(grey.get_pixel(x, y).0[0]) * 257]));
    let colour = ImageBuffer::from_fn(9, 7, |x, y| Rgb([grey.get_pixel(x, y).0[0]; 3]));
    let opaque = ImageBuffer::from_fn(9, 7, |x, y| LumaA([grey.get_pixel(x, y).0[0], 255]));
    for (name, bytes) in [("16 bits", png(wide)), ("colour", png(colour)), ("opaque", png(opaque))] {
        let got = see(&bytes).expect("a picture");
        assert!(got.pixels.iter().zip(&want.pixels).all(|(a, b)| (a - b).abs() < 1e-5), "{name}");
    }
    let smooth = RgbImage::from_fn(32, 32, |x, y| Rgb([x as u8 * 8, y as u8 * 8, 128]));
    let got = see(&encoded(smooth.clone(), ImageFormat::Jpeg)).expect("a picture");
    let want = see(&png(smooth)).expect("a picture");
    assert!(got.pixels.iter().zip(&want.pixels).all(|(a, b)| (a - b).abs() < 0.15));
}

#[test]
fn what_is_transparent_lies_on_white() {
    let image = RgbaImage::from_fn(3, 1, |x, _| Rgba([0, 0, 255, [0, 51, 255][x as usize]]));
    let got = see(&png(image)).expect("a picture");
    let want = [[1.0; 3], [0.6, 0.6, 1.0], [-1.0, -1.0, 1.0]];
    for (x, want) in want.into_iter().enumerate() {
        assert!(near(at(&got, 14 + x, 15), want), "{x}: {:?}", at(&got, 14 + x, 15));
    }
}

/// The eight ways to hold a camera, as Exif numbers them: where the upper left corner's red and the upper right
/// corner's green of the stored picture are to be seen.
#[test]
fn a_camera_may_be_held_any_way() {
    let mut image = RgbImage::from_pixel(64, 32, Rgb([0, 0, 0]));
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        match (x, y) {
            (0..16, 0..16) => *pixel = Rgb([255, 0, 0]),
            (48.., 0..16) => *pixel = Rgb([0, 255, 0]),
            _ => {}
        }
    }
    let stored = encoded(image, ImageFormat::Jpeg);
    // Corners of the seen picture: upright ones are 16 wide in the middle, the others 16 high.
    let (flat, tall) = ([(2, 10), (29, 10), (2, 21), (29, 21)], [(10, 2), (21, 2), (10, 29), (21, 29)]);
    let ways = [
        (flat, 0, 1),
        (flat, 1, 0),
        (flat, 3, 2),
        (flat, 2, 3),
        (tall, 0, 2),
        (tall, 1, 3),
        (tall, 3, 1),
        (tall, 2, 0),
    ];
    for (number, (corners, red, green)) in (1u8..).zip(ways) {
        let exif = [
            b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0",
            &[number, 0, 0, 0, 0, 0, 0, 0][..],
        ]
        .concat();
        let bytes = [&stored[..2], &exif, &stored[2..]].concat();
        let got = see(&bytes).expect("a picture");
        for (i, (x, y)) in corners.into_iter().enumerate() {
            let [r, g, b] = at(&got, x, y);
            assert!(
                b < -0.8 && (r > 0.8) == (i == red) && (g > 0.8) == (i == green),
                "{number}: corner {i} is {r} {g} {b}"
            );
        }
    }
}

#[test]
fn what_is_no_picture_is_refused() {
    for bytes in
        [&b""[..], b"\x89PN", b"A text that somebody named cat.png.\n", b"GIF89a\x01\0\x01\0\0\0\0;", b"BM234567890123"]
    {
        assert!(matches!(error(bytes), PictureError::Unknown), "{bytes:?}");
    }
    for whole in [png(noise(20, 20)), encoded(noise(20, 20), ImageFormat::Jpeg)] {
        // Up to the last pixels; without the end mark a picture may be whole.
        for end in 8..whole.len() / 4 {
            assert!(matches!(error(&whole[..end]), PictureError::Damaged(_)), "{end} of {}", whole.len());
        }
    }
    let raw = |e: Result<Picture, Error>| assert!(matches!(e, Err(Error::Picture(PictureError::Length { .. }))));
    raw(Picture::from_gray(&[], 0, 5));
    raw(Picture::from_gray(&[0; 7], 2, 4));
    raw(Picture::from_rgb(&[0; 8], 2, 4));
    raw(Picture::from_rgb(&[0; 8], usize::MAX, 2));
}

/// By the header, whatever follows it.
#[test]
fn what_is_too_large_is_refused_at_once() {
    let mut bytes = png(noise(8, 8));
    // The checksum of the header must fit.
    bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x20, 0]);
    let crc = bytes[12..29].iter().fold(!0u32, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 > 0 { c >> 1 ^ 0xEDB8_8320 } else { c >> 1 })
    });
    bytes[29..33].copy_from_slice(&(!crc).to_be_bytes());
    assert!(matches!(error(&bytes), PictureError::TooLarge { width: 16_384, height: 8_192 }));
    let mut bytes = encoded(noise(8, 8), ImageFormat::Jpeg);
    let frame = bytes.windows(2).position(|w| w == [0xff, 0xc0]).expect("a frame header");
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    assert!(matches!(error(&bytes), PictureError::TooLarge { width: 65_535, height: 65_535 }));
}

#[test]
fn twenty_megapixels_are_seen() {
    let image = RgbImage::from_fn(5472, 3648, |x, _| Rgb(if x < 2736 { [200, 30, 30] } else { [30, 30, 200] }));
    let got = see(&encoded(image, ImageFormat::Jpeg)).expect("a picture");
    for (x, want) in [(3, [200, 30, 30]), (28, [30, 30, 200])] {
        let want = want.map(level);
        assert!(at(&got, x, 16).iter().zip(want).all(|(a, b)| (a - b).abs() < 0.03), "{:?}", at(&got, x, 16));
    }
}

/// Damage gives an error or other pixels, never a panic or a number out of range.
#[test]
fn damaged_files_do_no_harm() {
    let mut random = Random::new(22);
    let mut seen = 0;
    for whole in [png(noise(11, 9)), encoded(noise(40, 24), ImageFormat::Jpeg)] {
        for turn in 0..1_500 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random.below(4) {
                let at = 8 + random.below(if turn % 3 > 0 { 180.min(bytes.len() - 8) } else { bytes.len() - 8 });
                bytes[at] = if turn % 2 > 0 { random.bits() as u8 } else { bytes[at] ^ 1 << random.below(8) };
            }
            if let Ok(picture) = see(&bytes) {
                assert!(picture.pixels.len() == SIDE * SIDE * 3 && picture.pixels.iter().all(|x| x.abs() <= 1.0001));
                seen += 1;
            }
        }
    }
    assert!((50..2_900).contains(&seen), "{seen} of 3000 were seen");
}
