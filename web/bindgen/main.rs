//! Usage: lichen-bindgen WASM OUT
//!
//! Writes the JavaScript module for `WASM`, which rustc made, and the wasm that goes with it into the folder `OUT`.

use std::env;
use std::error::Error;
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<(), Box<dyn Error>> {
    let [wasm, out] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: lichen-bindgen WASM OUT")?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).web(true)?.omit_default_module_path(false).typescript(false).remove_name_section(true);
    Ok(bindgen.generate(out)?)
}
