//! `lichen run`: one answer on standard output.

use crate::answer::{self, Answer};
use crate::args::RunArgs;
use crate::failure::{Done, Failure};
use crate::{devices, files, interrupt, load, output};
use serde_json::json;
use std::path::Path;

pub(crate) fn run(args: &RunArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    let n = answer::limit(args.n_predict)?;
    let text = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => files::text(path)?,
        (None, None) => files::text(Path::new("-"))?,
    };
    if text.trim().is_empty() {
        return Err(Failure::Usage("the prompt is empty; give one with -p, -f or on standard input".into()));
    }
    let model = load::model(&args.model)?;
    let tokenizer = model.tokenizer();
    let (prompt, ends): (Vec<u32>, &[&str]) = match args.raw {
        true => {
            let start = tokenizer.special("<text>");
            (start.into_iter().chain(tokenizer.encode(&text)).collect(), &["<end>"])
        }
        false => (tokenizer.user_turn(&text), &["<end>", "<user>"]),
    };
    let sampler = answer::sampler(&args.sample, 0.0, &model, ends)?;
    let mut session = load::session(&model)?;
    interrupt::listen();
    answer::read(&mut session, &prompt)?;
    let route = if args.json { pollster::block_on(session.routes())? } else { Vec::new() };
    let mut last = '\n';
    let Answer { tokens, text, stop } =
        answer::answer(&mut session, tokenizer, &sampler, n, &args.sample.stop, |text| {
            last = text.chars().last().unwrap_or(last);
            if args.json { Ok(()) } else { answer::show(text) }
        })?;
    if args.json {
        let route = answer::route_json(&route);
        let action = serde_json::Value::Null;
        output::print_json(&json!({ "text": text, "action": action, "tokens": tokens, "stop": stop, "route": route }))?;
    } else if last != '\n' {
        output::print("\n")?;
    }
    load::tell_memory(&model);
    match stop {
        "interrupt" => Err(Failure::Interrupted(String::new())),
        _ => Ok(()),
    }
}
