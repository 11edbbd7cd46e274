//! How far a run is, for people: a bar on a terminal, a line now and then elsewhere.

use crate::output::{note, short};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lichen::train::Progress;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Weight of the past in the smoothed loss and speed.
const PAST: f64 = 0.98;

/// Shows progress and smooths it.
pub(crate) struct Meter {
    bar: Option<ProgressBar>,
    /// Smoothed loss.
    loss: Option<f64>,
    /// Smoothed seconds of an update.
    seconds: Option<f64>,
    line: Instant,
    /// Tokens and time of this process's updates.
    tokens: u64,
    spent: f64,
}

impl Meter {
    /// Starts at an update, with the smoothed loss so far.
    pub(crate) fn new(position: u64, steps: u64, loss: Option<f64>) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(5));
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}");
            // The template is fixed; a bad one would only look plain.
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_position(position);
            bar
        });
        Self { bar, loss, seconds: None, line: Instant::now(), tokens: 0, spent: 0.0 }
    }

    /// Takes in an update; gives the smoothed loss.
    pub(crate) fn update(&mut self, progress: &Progress, seconds: f64) -> f64 {
        // A young average must not remember its first value for long.
        let past = PAST.min(progress.step as f64 / (progress.step as f64 + 9.0));
        let blend = |old: Option<f64>, new: f64| old.map_or(new, |old| past * old + (1.0 - past) * new);
        let loss = blend(self.loss, progress.loss);
        let smooth = blend(self.seconds, seconds);
        (self.loss, self.seconds) = (Some(loss), Some(smooth));
        self.tokens += progress.tokens;
        self.spent += seconds;
        let left = Duration::from_secs_f64(smooth * progress.steps.saturating_sub(progress.step) as f64);
        let speed = progress.tokens as f64 / smooth.max(1e-9);
        let message = format!("loss {loss:.3}  {} tokens/s  {} left", short(speed as u64), duration(left));
        match &self.bar {
            Some(bar) => {
                bar.set_position(progress.step);
                bar.set_message(message);
            }
            None if self.line.elapsed() >= LINE_EVERY || progress.step == 1 => {
                self.line = Instant::now();
                note(&format!("step {}/{}  {message}  lr {:.1e}", progress.step, progress.steps, progress.lr));
            }
            None => {}
        }
        loss
    }
    /// A line that stays, above the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }
    /// Tokens a second of this process's updates, without saving and measuring.
    pub(crate) fn speed(&self) -> f64 {
        self.tokens as f64 / self.spent.max(1e-9)
    }
    /// The bar has done its work.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `3h 05m`, `2m 10s`, `7s`.
pub(crate) fn duration(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        3600.. => format!("{}h {:02}m", s / 3600, s % 3600 / 60),
        60.. => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let of = |s| duration(Duration::from_secs(s));
        assert_eq!([of(7), of(130), of(11_100)], ["7s", "2m 10s", "3h 05m"]);
    }
}
