//! The worker pool: how many threads the CPU device may use, and how a range of work is shared among them.

use std::ops::Range;

/// Threads of the CPU device. One thread on wasm32.
pub struct Pool {
    threads: usize,
    #[cfg(not(target_arch = "wasm32"))]
    inner: Option<rayon::ThreadPool>,
}

impl Pool {
    /// A pool of `threads` workers; 0 takes what the machine offers.
    pub fn new(threads: usize) -> Self {
        #[cfg(not(target_arch = "wasm32"))]
        {
            let wanted = match threads {
                0 => std::thread::available_parallelism().map_or(1, usize::from),
                n => n,
            };
            let inner =
                (wanted > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(wanted).build().ok()).flatten();
            Self { threads: if inner.is_some() { wanted } else { 1 }, inner }
        }
        #[cfg(target_arch = "wasm32")]
        {
            let _ = threads;
            Self { threads: 1 }
        }
    }

    /// Workers.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` inside the pool, so that [`Pool::split`] and GEMM inside it use the workers without
    /// crossing threads again.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(not(target_arch = "wasm32"))]
        if let Some(inner) = &self.inner {
            return inner.install(work);
        }
        work()
    }

    /// Splits `0..n` into pieces of at least `least` and runs `work` on each, in any order and at once.
    pub fn split(&self, n: usize, least: usize, work: impl Fn(Range<usize>) + Sync) {
        let pieces = self.threads.min(n / least.max(1)).max(1);
        if pieces == 1 {
            return work(0..n);
        }
        #[cfg(not(target_arch = "wasm32"))]
        {
            use rayon::prelude::*;
            let piece = n.div_ceil(pieces);
            self.enter(|| (0..pieces).into_par_iter().for_each(|i| work((i * piece).min(n)..((i + 1) * piece).min(n))));
        }
    }

    /// Runs `work` on every item, in any order and at once; workers take the next item when they are done.
    pub fn each<T: Send>(&self, items: Vec<T>, work: impl Fn(T) + Sync + Send) {
        #[cfg(not(target_arch = "wasm32"))]
        if self.threads > 1 && items.len() > 1 {
            use rayon::prelude::*;
            return self.enter(|| items.into_par_iter().with_max_len(1).for_each(work));
        }
        items.into_iter().for_each(work);
    }
}
