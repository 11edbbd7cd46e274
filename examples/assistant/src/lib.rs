//! Makes what a small assistant is trained and tested on: dialogues, lessons, single requests, and spoken commands.
//!
//! Nothing is downloaded and no model is asked: word lists and wordings in `data/` are put together by chance, the same for the same seed
//! on every machine. All files are lines of JSON.
//!
//! # `lichen-assistant dialogues --out DIR`
//! `train.jsonl`, `validation.jsonl`, `test.jsonl`: dialogues.
//! ```json
//! {"turns":[{"s":"U","t":"my wife is called Chete","now":"Mon 2026-11-23 14:05","about":"wife.name"},
//!           {"s":"S","t":"Got it, your wife is called Chete."},
//!           {"s":"U","t":"call my wife","about":"wife.name"},
//!           {"s":"S","t":"Calling Chete.","actions":[{"name":"call.start","arguments":{"contact":"Chete"}}]}]}
//! ```
//! - `s` is who speaks: the user `U` or the assistant `S`; `t` is what is said.
//! - `now` is when the user says it, where that is known. Answers about the time and the date are read from it.
//! - `about` is the personal fact that the turn states, or that the right answer depends on, told or not: kind, point, property.
//! - `actions` are what the assistant does, by the catalogue `actions.json`, arguments in its order. Texts are what the user said, times and
//!   amounts are normalised: `10 min`, `1 h 30 min`, `7:00`, `tomorrow 19:30`, `in 2 h`, `2 m`.
//! - `kind_held_out` marks dialogues about kinds of facts that training never has (only in the held-out sets).
//!
//! `lessons.validation.jsonl`, `lessons.test.jsonl`: one personal fact each.
//! ```json
//! {"id":"coffee-taste-4","about":"coffee.taste","teach":["i take my coffee without sugar"],
//!  "probes":[{"prompt":"how do i take my coffee","expect":["without sugar"],"kind":"direct"},
//!            {"prompt":"order me a coffee","expect":["no sugar"],"kind":"applied"},
//!            {"prompt":"how do i like my coffee","say":"i take my coffee with milk","expect":["with milk"],"kind":"conflict"}],
//!  "unrelated":[{"prompt":"set a timer for ten minutes"}]}
//! ```
//! Every string of `expect` must stand in the reply or in an argument of an action, capitals aside. `direct` probes are worded as in
//! training, `paraphrase` and `applied` ones in held-out wordings; in a `conflict`, `say` comes first, in the same dialogue, and wins.
//!
//! `actions.validation.jsonl`, `actions.test.jsonl`: single requests, `{"text":"..","action":{"name":"..","arguments":{..}}}`.
//!
//! # `lichen-assistant commands --out DIR`
//! `train.jsonl`, `validation.jsonl`, `test.jsonl`: commands read out by `espeak-ng`, 16-bit mono WAV at 16 kHz beside them.
//! ```json
//! {"file":"train/000123.wav","text":"turn on the kitchen light","voice":"en-gb+f2","actions":[..],"reply":"Turning on the kitchen light."}
//! ```
//! `words.train.jsonl` and so on: single words, `{"file":"..","text":"rooster","voice":"..","reply":"rooster"}`. Speakers differ between the
//! sets, wordings do not; one accent is only in the test.
//!
//! # What is held out
//! Of every list of at least eight wordings, 12% belong to validation and 12% to test, with all their alternatives. Of every word list that
//! is not small and closed (rooms, days, units), 15% each; invented words and numbers are split by a hash of their text. Three kinds of facts
//! are only in validation and three only in test, and so are the nouns of the kinds nobody foresaw. Openers are shared in part.
//!
//! # The files in `data/`
//! `common.txt` has common words and what tasks, notes, messages, titles and goods are put together from, for training alone. In the others,
//! `(a|b|)` are alternatives, `{room}` is a gap. A wording without a sign is an order, which takes "could you"; `? ` starts a question and
//! `. ` anything else. `requests*.txt` and `spoken.txt` have patterns: `!` action, `=` reply, `/` reply where nobody told the time, `~` facts
//! that change the answer. `facts.txt` and `open.txt` have kinds of facts: `say`, `ask`, and requests, `-`, under what is done with the fact,
//! `do`, and without it, `else`.

pub mod catalogue;
pub mod common;
pub mod data;
pub mod dialogues;
pub mod error;
pub mod facts;
pub mod forms;
pub mod lessons;
pub mod now;
pub mod own;
pub mod random;
pub mod requests;
pub mod slots;
pub mod split;
pub mod spoken;
pub mod style;
pub mod talk;
pub mod template;
pub mod wav;
pub mod words;
pub mod write;
