//! Lichen in a browser tab: what the page's worker calls. Bytes and text in, JSON and text out.
//!
//! One conversation is a [`Lichen`]; a person's turn is an [`Input`]. Everything returns to the worker between two
//! awaits, and a worker calls one method of a conversation at a time.

mod conversation;
mod failure;
mod input;
mod memory;
mod report;
mod routes;

pub use crate::conversation::{Finished, Lichen};
pub use crate::input::Input;
pub use crate::report::{adapter, selftest_on};

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);
}

/// Runs once when the module is loaded: panics say on the console what happened before the trap.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| error(&info.to_string())));
}
