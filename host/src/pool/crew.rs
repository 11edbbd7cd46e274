//! Worker threads that join a piece of work as long as it is open.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Turns of watching for work that are only a pause instruction: about 20 microseconds.
const PAUSES: u32 = 1 << 9;
/// Turns after those that let other threads run: with a free core some 50 microseconds more.
const YIELDS: u32 = 1 << 7;

/// In the state: workers may join.
const OPEN: u64 = 1 << 31;
/// In the state: the crew is dismissed.
const OVER: u64 = 1 << 30;
/// In the state: workers that have joined and not left.
const INSIDE: u64 = OVER - 1;
/// In the state: counts the pieces of work.
const ROUND: u64 = 1 << 32;

type Work = dyn Fn() + Sync;

struct Shared {
    /// Round, whether it is open, and workers inside.
    state: AtomicU64,
    /// What the open round is about; written only while no round is open and nobody is inside.
    work: UnsafeCell<Option<*const Work>>,
    /// A panic of a worker.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Workers that sleep, or are about to.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}
// SAFETY: `work` is written by the one thread that holds `Crew::busy` while nobody is inside, and read by workers
// between joining an open round and leaving it; the state orders the two.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is used only while the caller that owns its target waits.
unsafe impl Send for Shared {}

/// Workers beside the caller.
pub(super) struct Crew {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held by the thread whose work the crew does.
    busy: Mutex<()>,
}

impl Crew {
    /// A crew of as many workers as the machine grants, or none.
    pub(super) fn new(workers: usize) -> Option<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::default(),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::default(),
            wake: Condvar::new(),
        });
        let start = |i: usize| {
            let shared = shared.clone();
            std::thread::Builder::new().name(format!("lichen {i}")).spawn(move || shared.serve()).ok()
        };
        let workers: Vec<_> = (1..=workers).map_while(start).collect();
        (!workers.is_empty()).then(|| Self { shared, workers, busy: Mutex::default() })
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Runs `work` on the calling thread and on every worker that comes in time; returns when all have left.
    /// `work` shares out what there is to do, and returns when nothing is left to take.
    pub(super) fn share(&self, work: &(dyn Fn() + Sync)) {
        let busy = match self.busy.try_lock() {
            Ok(busy) => busy,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A piece of work that shares a part of its own, or a second caller: the caller takes everything.
            Err(std::sync::TryLockError::WouldBlock) => return work(),
        };
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes: this function leaves after every worker has left the round.
        let erased: *const Work = unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const Work>(work) };
        // SAFETY: no round is open and nobody is inside: the last `Round` was dropped under this lock.
        unsafe { *shared.work.get() = Some(erased) };
        let round = shared.state.load(Ordering::Relaxed) & !INSIDE;
        shared.state.store((round + ROUND) | OPEN, Ordering::SeqCst);
        let open = Round { shared };
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            // A worker that is about to sleep holds this lock from its last look at the state on.
            drop(shared.sleep.lock());
            shared.wake.notify_all();
        }
        work();
        drop(open);
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(busy);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.state.fetch_or(OVER, Ordering::SeqCst);
        drop(self.shared.sleep.lock());
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // Panics of workers were handed to whoever gave the work.
            let _ = worker.join();
        }
    }
}

/// An open round. Dropped, also by a panic, it closes and waits until everybody has left.
struct Round<'a> {
    shared: &'a Shared,
}
impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0;
        while self.shared.state.load(Ordering::Acquire) & INSIDE != 0 {
            watch(&mut turns);
        }
    }
}

/// One turn of waiting for something that should come soon.
fn watch(turns: &mut u32) {
    *turns = turns.saturating_add(1);
    if *turns < PAUSES {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

impl Shared {
    /// The life of a worker.
    fn serve(&self) {
        let mut last = 0;
        while let Some(round) = self.join(last) {
            last = round;
            // SAFETY: this worker is inside the round, whose caller waits for it, so the target is alive.
            let work = unsafe { (*self.work.get()).map(|work| &*work) };
            let done = catch_unwind(AssertUnwindSafe(|| work.into_iter().for_each(|work| work())));
            if let Err(panic) = done {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Joins the next open round after `last` and returns it; none when the crew is dismissed.
    fn join(&self, last: u64) -> Option<u64> {
        let mut turns = 0;
        loop {
            let state = self.state.load(Ordering::Acquire);
            if state & OVER != 0 {
                return None;
            }
            if fresh(state, last) {
                if self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return Some(state / ROUND);
                }
                continue;
            }
            watch(&mut turns);
            if turns >= PAUSES + YIELDS {
                self.doze(last);
                turns = 0;
            }
        }
    }

    /// Sleeps until there is something to join or the crew is dismissed.
    fn doze(&self, last: u64) {
        let mut sleep = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state & OVER != 0 || fresh(state, last) {
                break;
            }
            sleep = self.wake.wait(sleep).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether a worker that was last in round `last` may join.
fn fresh(state: u64, last: u64) -> bool {
    state & OPEN != 0 && state / ROUND != last
}

#[cfg(test)]
mod tests {
    use super::super::Pool;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_item_is_done_once_however_often_the_crew_sleeps_between() {
        for threads in [1, 2, 3, 8] {
            let pool = Pool::new(threads);
            for round in 0..2000 {
                let n = round % 7;
                let done: Vec<_> = (0..n).map(|_| AtomicUsize::new(0)).collect();
                pool.each((0..n).collect(), |i: usize| {
                    done[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1), "{threads} threads, round {round}");
                if round % 500 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
            }
        }
    }

    #[test]
    fn work_within_work_and_callers_beside_each_other_are_done() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.each(vec![(); 5], |()| {
                            pool.split(10, 1, |range| {
                                sum.fetch_add(range.len(), Ordering::Relaxed);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 50 * 5 * 10);
    }

    #[test]
    fn a_panic_in_a_piece_of_work_reaches_the_caller_and_the_crew_lives_on() {
        let pool = Pool::new(4);
        for _ in 0..20 {
            let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.each((0..64).collect(), |i: usize| assert!(i != 40, "broken piece"));
            }));
            assert!(broken.is_err());
            let sum = AtomicUsize::new(0);
            pool.each((0..64).collect(), |i: usize| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 64 * 63 / 2);
        }
    }
}
