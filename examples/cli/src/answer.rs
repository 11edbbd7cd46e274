//! One answer: reading the prompt, sampling token by token, stop strings, Ctrl-C.

use crate::args::SampleArgs;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::output;
use crate::stops::Stops;
use lichen::action::{Heard, Reader};
use lichen::data::Example;
use lichen::session::{Route, RouteMap, Session, Stop};
use lichen::when::Moment;
use lichen::{Action, Model, Sampler, Tokenizer, Utf8Stream, was_told};
use serde_json::{Value, json};
use std::io::{self, IsTerminal};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tokens read between two looks at Ctrl-C.
const SLICE: usize = 1024;
/// `-n -1`: far more than anyone waits for.
const UNLIMITED: usize = u32::MAX as usize;

/// An answer.
pub(crate) struct Answer {
    /// Tokens, without the one that ended it.
    pub(crate) tokens: Vec<u32>,
    /// Text, up to a stop string, without actions.
    pub(crate) text: String,
    /// What it would do.
    pub(crate) actions: Vec<Action>,
    /// `end` (the model ended it), `stop` (a stop string), `length` or `interrupt`.
    pub(crate) stop: &'static str,
}

/// `-n` as a number of tokens.
pub(crate) fn limit(n: i64) -> Done<usize> {
    match usize::try_from(n) {
        Ok(n) => Ok(n.min(UNLIMITED)),
        Err(_) if n == -1 => Ok(UNLIMITED),
        Err(_) => Err(Failure::Usage(format!("-n is {n}; it must be at least 0, or -1 for no limit"))),
    }
}

/// The sampler of the flags.
pub(crate) fn sampler(args: &SampleArgs, temperature: f32, model: &Model, ends: &[&str]) -> Done<Sampler> {
    // What ends an answer, where the vocabulary has it.
    let tokenizer = model.tokenizer();
    let stops = ends.iter().filter_map(|name| tokenizer.special(name)).collect();
    let seed = args.seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64);
        now ^ u64::from(std::process::id()) << 32
    });
    let sampler = Sampler {
        temperature: args.temp.unwrap_or(temperature),
        top_k: args.top_k,
        top_p: args.top_p,
        repeat_penalty: args.repeat_penalty,
        repeat_last_n: args.repeat_last_n,
        seed,
        stops,
        ..Sampler::for_model(model)
    };
    sampler.validate(tokenizer.vocab()).map_err(|e| Failure::Usage(e.to_string()))?;
    if sampler.temperature > 0.0 {
        log::info!("sampling seed {seed}");
    }
    Ok(sampler)
}

/// Reads tokens into the session's state. A long text shows how far it is; Ctrl-C leaves the rest unread.
pub(crate) fn read(session: &mut Session, tokens: &[u32]) -> Done {
    let start = Instant::now();
    let mut shown = false;
    for (i, slice) in tokens.chunks(SLICE).enumerate() {
        if interrupt::pressed() {
            break;
        }
        if start.elapsed().as_secs_f32() > 1.0 && io::stderr().is_terminal() {
            eprint!("\rreading the prompt: {}%", 100 * i * SLICE / tokens.len());
            shown = true;
        }
        pollster::block_on(session.prefill(slice))?;
    }
    if shown {
        eprint!("\r{:30}\r", "");
    }
    let seconds = start.elapsed().as_secs_f64();
    log::info!("read {} tokens in {seconds:.3} s ({:.0} tokens/s)", tokens.len(), tokens.len() as f64 / seconds);
    if interrupt::pressed() { Err(Failure::Interrupted(String::new())) } else { Ok(()) }
}

/// Takes in a turn that may hold sounds and pictures; with its routes, if they are asked for.
pub(crate) fn take_in(session: &mut Session, turn: &Example, routes: bool) -> Done<Option<RouteMap>> {
    let plain = turn.heard() + turn.seen() == 0;
    let before = session.learned().then(|| pollster::block_on(session.state())).transpose()?;
    let map = match plain && (!routes || turn.ids.len() > SLICE) {
        // What is long shows how far it is and can be stopped.
        true => read(session, &turn.ids).map(|()| None)?,
        false if routes => Some(pollster::block_on(session.perceive_routed(turn))?),
        false => pollster::block_on(session.perceive(turn)).map(|()| None)?,
    };
    if let Some(before) = &before {
        pollster::block_on(was_told(session, before, turn))?;
    }
    Ok(map)
}

/// Samples an answer from where the session is; `show` gets its text piece by piece, in whole characters.
pub(crate) fn answer(
    session: &mut Session,
    tokenizer: &Tokenizer,
    sampler: &Sampler,
    n: usize,
    stop_strings: &[String],
    mut show: impl FnMut(&str) -> Done,
) -> Done<Answer> {
    let mut stops = Stops::new(stop_strings);
    let mut utf8 = Utf8Stream::default();
    let mut reader = Reader::new(tokenizer);
    let mut answer = Answer { tokens: Vec::new(), text: String::new(), actions: Vec::new(), stop: "length" };
    let mut shown: Done = Ok(());
    let start = Instant::now();
    let stop = pollster::block_on(session.generate(sampler, n, |id| {
        // The session has seen every token that comes by here, so that each belongs to the answer.
        answer.tokens.push(id);
        match reader.push(id) {
            Heard::Said(bytes) => {
                let text = utf8.push(&stops.push(&bytes));
                answer.text.push_str(&text);
                if shown.is_ok() && !text.is_empty() {
                    shown = show(&text);
                }
            }
            Heard::Done(action) => {
                if shown.is_ok() {
                    shown = show(&format!("{}\n", would(&action)));
                }
                answer.actions.push(action);
            }
        }
        if stops.hit() {
            answer.stop = "stop";
        } else if interrupt::pressed() {
            answer.stop = "interrupt";
        }
        shown.is_ok() && answer.stop == "length"
    }))?;
    let seconds = start.elapsed().as_secs_f64();
    shown?;
    if matches!(stop, Stop::Token(_)) {
        answer.stop = "end";
    }
    let rest = utf8.push(&stops.finish()) + &utf8.finish();
    if !rest.is_empty() {
        show(&rest)?;
        answer.text.push_str(&rest);
    }
    let n = answer.tokens.len();
    log::info!("wrote {n} tokens in {seconds:.3} s ({:.1} tokens/s)", n as f64 / seconds);
    Ok(answer)
}

/// An action for people: `[timer.set duration: 10 min]`.
fn would(action: &Action) -> String {
    let arguments: Vec<String> = action.arguments.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
    format!("[{}{}]", action.name, arguments.join(","))
}

/// Actions as JSON, each with its times as they resolve where the moment is known.
pub(crate) fn actions_json(actions: &[Action], now: Option<Moment>) -> Vec<Value> {
    let one = |action: &Action| {
        let mut value = json!(action);
        let times = now.map_or_else(Vec::new, |now| action.times(now));
        if !times.is_empty() {
            value["resolved"] =
                times.into_iter().map(|(name, time)| (name, time.into())).collect::<serde_json::Map<_, _>>().into();
        }
        value
    };
    actions.iter().map(one).collect()
}

/// Prints a piece of an answer on standard output; on a terminal, made harmless.
pub(crate) fn show(text: &str) -> Done {
    match io::stdout().is_terminal() {
        true => output::print(&output::for_terminal(text)),
        false => output::print(text),
    }
}

/// Routes as JSON: for every layer the sections that the token woke, and how strongly.
pub(crate) fn route_json(routes: &[Route]) -> Value {
    let layer = |route: &Route| {
        let sections: Vec<_> = route.picks.iter().map(|(id, gate)| json!({ "id": id, "gate": gate })).collect();
        json!({ "layer": route.layer, "sections": sections })
    };
    routes.iter().map(layer).collect()
}
