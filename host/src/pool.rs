//! The worker pool: how many threads the CPU device may use, and how work is shared among them.
//!
//! Decoding a token is a hundred pieces of work of some microseconds each, so workers that wait for the next one
//! watch for it a little while before they sleep, and a worker that comes late finds its share already done by
//! the others: nobody waits for a thread that is not running.

use std::ops::Range;

#[cfg(not(target_arch = "wasm32"))]
mod crew;

/// Threads of the CPU device. One thread on wasm32.
pub struct Pool {
    #[cfg(not(target_arch = "wasm32"))]
    crew: Option<crew::Crew>,
}

impl Pool {
    /// A pool of `threads` threads, the caller's among them; 0 takes what the machine offers.
    pub fn new(threads: usize) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let wanted = match threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                n => n,
            };
            Self { crew: crew::Crew::new(wanted - 1) }
        }
        #[cfg(target_arch = "wasm32")]
        {
            let _ = threads;
            Self {}
        }
    }

    /// Threads that share the work.
    pub fn threads(&self) -> usize {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(crew) = &self.crew {
            return 1 + crew.workers();
        }
        1
    }

    /// Splits `0..n` into pieces of at least `least` and runs `work` on each, in any order and at once.
    pub fn split(&self, n: usize, least: usize, work: impl Fn(Range<usize>) + Sync) {
        let pieces = self.threads().min(n / least.max(1)).max(1);
        let piece = n.div_ceil(pieces);
        self.count(pieces, |i| work((i * piece).min(n)..((i + 1) * piece).min(n)));
    }

    /// Runs `work` on every item, in any order and at once; threads take the next item when they are done.
    pub fn each<T: Send>(&self, items: Vec<T>, work: impl Fn(T) + Sync) {
        if self.threads() == 1 || items.len() < 2 {
            return items.into_iter().for_each(work);
        }
        let items: Vec<_> = items.into_iter().map(|item| std::sync::Mutex::new(Some(item))).collect();
        self.count(items.len(), |i| {
            // Nobody else locks this one, and a panic elsewhere cannot poison it before it is taken.
            let item = items[i].lock().ok().and_then(|mut item| item.take());
            item.into_iter().for_each(&work);
        });
    }

    /// Runs `work` on `0..n`, in any order and at once. Inside another piece of work, or while another thread uses
    /// the pool, the caller does it all.
    fn count(&self, n: usize, work: impl Fn(usize) + Sync) {
        #[cfg(not(target_arch = "wasm32"))]
        if let (Some(crew), true) = (&self.crew, n > 1) {
            let next = std::sync::atomic::AtomicUsize::new(0);
            return crew.share(&|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i >= n {
                        return;
                    }
                    work(i);
                }
            });
        }
        (0..n).for_each(work);
    }
}
