//! How weights start. Every row of every tensor has a random stream of its own, so a model of any size can be
//! written row by row, and the same seed gives the same bits on every machine: integers, sums and products only.

use crate::config::{Config, Init, TensorSpec};
use lichen_shaders::cases::Random;

/// Fills row `row` (of the slowest axis) of a tensor.
pub(crate) fn fill_row(config: &Config, spec: &TensorSpec, seed: u64, row: usize, out: &mut [f32]) {
    let mut random = stream(seed, &spec.name, row);
    let mut normal = |deviation: f32, out: &mut [f32]| out.iter_mut().for_each(|x| *x = deviation * bell(&mut random));
    match spec.init {
        Init::Normal(deviation) => normal(deviation, out),
        Init::Constant(value) => out.fill(value),
        Init::Conv => {
            normal(0.1, out);
            // Rows are taps, the oldest first.
            let tap = [0.0, 0.0, 0.3, 1.0].get(row).copied().unwrap_or(0.0);
            out.iter_mut().for_each(|x| *x += tap);
        }
        Init::Slopes => {
            // One-dimensional: a row is one channel. MCSD's slopes 2^(-8(i+1)/C) over the value channels of a head.
            let channel = row % config.value + 1;
            out.fill(-8.0 * std::f32::consts::LN_2 * channel as f32 / config.value as f32);
        }
        Init::Decays => {
            let last = out.len().saturating_sub(1).max(1) as f32;
            out.iter_mut().enumerate().for_each(|(i, x)| *x = -6.0 + 7.0 * i as f32 / last);
        }
        Init::Sections(up, down) => {
            let half = config.neurons * config.width;
            let (ups, rest) = out.split_at_mut(half);
            let (downs, padding) = rest.split_at_mut(half);
            normal(up, ups);
            normal(down, downs);
            padding.fill(0.0);
        }
    }
}

/// A stream for each (seed, tensor, row).
fn stream(seed: u64, name: &str, row: usize) -> Random {
    let name = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let tensor = Random::new(seed ^ name).bits();
    Random::new(Random::new(tensor.wrapping_add(row as u64)).bits())
}

/// Close to a standard normal, within six deviations: the sum of twelve uniforms, whose variance is exactly one.
/// Unlike logarithms and cosines it rounds the same on every machine.
fn bell(random: &mut Random) -> f32 {
    let mut sum = 0u32;
    for _ in 0..3 {
        let bits = random.bits();
        sum += (0..4).map(|i| (bits >> (16 * i)) as u32 & 0xFFFF).sum::<u32>();
    }
    // Each uniform has mean 65535 / 2: the sum of twelve is centred by 6 * 65535.
    (sum as i32 - 6 * 65535) as f32 / 65536.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(config: &Config, name: &str) -> Vec<f32> {
        let spec = config.tensors().into_iter().find(|t| t.name == name).expect("a tensor of the config");
        let row_len = spec.len() / spec.shape[0];
        let mut all = vec![f32::NAN; spec.len()];
        all.chunks_mut(row_len).enumerate().for_each(|(row, out)| fill_row(config, &spec, 7, row, out));
        all
    }
    fn moments(x: &[f32]) -> (f64, f64) {
        let n = x.len() as f64;
        let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        (mean, (x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn deviations_are_as_asked() {
        let config = Config::nano();
        let (mean, deviation) = moments(&tensor(&config, "embed"));
        assert!(mean.abs() < 1e-4 && (deviation / 0.02 - 1.0).abs() < 0.01, "{mean} {deviation}");
        let sections = tensor(&config, "layers.2.sections");
        let half = config.neurons * config.width;
        let (_, up) = moments(&sections[..half]);
        let (_, down) = moments(&sections[half..2 * half]);
        assert!((up * (config.width as f64).sqrt() - 1.0).abs() < 0.03, "{up}");
        assert!((down * (12.0 * config.neurons as f64).sqrt() * 2.0 - 1.0).abs() < 0.03, "{down}");
    }

    #[test]
    fn rows_and_tensors_differ() {
        let config = Config::nano();
        let (a, b) = (tensor(&config, "layers.0.mix.in"), tensor(&config, "layers.1.mix.in"));
        assert_ne!(a[..8], b[..8]);
        assert_ne!(a[..config.width], a[config.width..2 * config.width]);
    }

    #[test]
    fn rates_spread_over_the_channels() {
        let config = Config::nano();
        let slopes = tensor(&config, "layers.0.mix.slope_rate");
        assert!((slopes[0].exp() - 2f32.powf(-8.0 / config.value as f32)).abs() < 1e-6);
        assert!((slopes[2 * config.value - 1].exp() - 2f32.powi(-8)).abs() < 1e-7);
        let decays = tensor(&config, "layers.0.mix.decay_bias");
        assert_eq!((decays[0], decays[config.key - 1], decays[config.key]), (-6.0, 1.0, -6.0));
        let conv = tensor(&config, "layers.0.mix.conv");
        let (mean, deviation) = moments(&conv[3 * config.conv_channels()..]);
        assert!((mean - 1.0).abs() < 0.03 && (deviation - 0.1).abs() < 0.02);
    }
}
