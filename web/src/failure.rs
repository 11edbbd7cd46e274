//! Errors on their way to JavaScript: an `Error` with a message for people and a `code` for programs.

use js_sys::Reflect;
use lichen::{Error, HostError};
use wasm_bindgen::JsValue;

/// `code` of an error: `lost` (make everything anew), `memory`, `device`, `input`, `model`, `state`, `lessons` or
/// `engine`.
fn code(error: &Error) -> &'static str {
    match error {
        Error::Host(HostError::DeviceLost { .. }) => "lost",
        Error::Host(HostError::OutOfMemory { .. }) => "memory",
        Error::Host(_) => "device",
        Error::Sound(_) | Error::Picture(_) | Error::Senses(_) | Error::EmptyPrompt => "input",
        Error::File(_) | Error::Version { .. } | Error::Tensor { .. } | Error::Hash { .. } => "model",
        Error::NotFinite { .. } | Error::Tokenizer(_) => "model",
        Error::State(_) => "state",
        Error::Memory(_) | Error::Lessons(_) | Error::Store(_) => "lessons",
        _ => "engine",
    }
}

pub(crate) fn thrown(error: impl Into<Error>) -> JsValue {
    let error = error.into();
    with_code(&error.to_string(), code(&error))
}

pub(crate) fn with_code(message: &str, code: &str) -> JsValue {
    let thrown = js_sys::Error::new(message);
    // An error is an ordinary object; should it refuse, the message is still there.
    let _ = Reflect::set(&thrown, &"code".into(), &code.into());
    thrown.into()
}
