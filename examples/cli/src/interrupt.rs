//! Ctrl-C: it ends what is running, then the program.
//!
//! While something runs, the first Ctrl-C asks it to stop at the next token or training step and a second one
//! ends the program at once. At the prompt of a chat one Ctrl-C is only a question, unless the one before it
//! just ended an answer.

use crate::output::note;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static PRESSED: AtomicU32 = AtomicU32::new(0);
static AT_PROMPT: AtomicBool = AtomicBool::new(false);

/// Listens from now on. Without a listener Ctrl-C ends the program, which is what we want when it cannot be had.
pub(crate) fn listen() {
    let result = ctrlc::set_handler(|| {
        let before = PRESSED.fetch_add(1, Ordering::SeqCst);
        match (AT_PROMPT.load(Ordering::SeqCst), before) {
            (true, 0) => note("\n(Ctrl-C again or /quit ends the chat)"),
            (true, _) => {
                note("");
                std::process::exit(0)
            }
            (false, 0) => {}
            (false, _) => std::process::exit(130),
        }
    });
    if let Err(error) = result {
        log::warn!("Ctrl-C ends the program at once: {error}");
    }
}

/// Whether what is running should stop.
pub(crate) fn pressed() -> bool {
    PRESSED.load(Ordering::SeqCst) > 0
}
/// Forgets earlier presses.
pub(crate) fn clear() {
    PRESSED.store(0, Ordering::SeqCst);
}
/// Says whether a chat waits for a line.
pub(crate) fn at_prompt(yes: bool) {
    AT_PROMPT.store(yes, Ordering::SeqCst);
}
