//! Routes as JSON: what each row of an input was, and which sections it woke in each layer.

use lichen::data::{HEARD, SEEN};
use lichen::session::RouteMap;
use lichen::{Route, Tokenizer};
use serde_json::{Value, json};

/// What a row stands for: `sound`, `picture`, `word`, or `mark` for a token that no text has.
fn row(tokenizer: &Tokenizer, id: u32) -> Value {
    match id {
        HEARD => json!({ "kind": "sound", "text": "" }),
        SEEN => json!({ "kind": "picture", "text": "" }),
        id => {
            let bytes = tokenizer.decode(&[id]);
            let special = lichen::SPECIALS.iter().find(|name| tokenizer.special(name) == Some(id));
            match special {
                Some(name) => json!({ "kind": "mark", "text": name }),
                None => json!({ "kind": "word", "text": String::from_utf8_lossy(&bytes) }),
            }
        }
    }
}

/// Rows with what they are, and for each row the picks of each layer: `{rows: [{kind, text}], picks: [row][layer]
/// [id, gate, id, gate, ..]}`.
pub(crate) fn of_map(tokenizer: &Tokenizer, ids: &[u32], map: &RouteMap) -> Value {
    let rows: Vec<Value> = ids.iter().map(|&id| row(tokenizer, id)).collect();
    let picks: Vec<Value> = (0..map.rows())
        .map(|row| map.layers.iter().map(|layer| flat(layer.get(row).map_or(&[][..], Vec::as_slice))).collect())
        .collect();
    json!({ "rows": rows, "picks": picks })
}

/// The same of one token that was just fed.
pub(crate) fn of_token(tokenizer: &Tokenizer, id: u32, routes: &[Route]) -> Value {
    json!({ "row": row(tokenizer, id), "picks": routes.iter().map(|route| flat(&route.picks)).collect::<Vec<_>>() })
}

fn flat(picks: &[(u32, f32)]) -> Value {
    // Four digits are what a person can tell apart, and half the text.
    picks.iter().flat_map(|&(id, gate)| [json!(id), json!((f64::from(gate) * 1e4).round() / 1e4)]).collect()
}
