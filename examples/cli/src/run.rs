//! `lichen run`: one answer on standard output.

use crate::answer::{self, Answer};
use crate::args::RunArgs;
use crate::failure::{Done, Failure};
use crate::input::{self, Input};
use crate::output::note;
use crate::{devices, files, heat, interrupt, load, output, recall};
use lichen::data::Example;
use serde_json::json;
use std::path::Path;

pub(crate) fn run(args: &RunArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    let n = answer::limit(args.n_predict)?;
    let perceives = args.image.is_some() || args.audio.is_some();
    let text = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => files::text(path)?,
        (None, None) if perceives => String::new(),
        (None, None) => files::text(Path::new("-"))?,
    };
    if text.trim().is_empty() && !perceives {
        return Err(Failure::Usage("the prompt is empty; give one with -p, -f or on standard input".into()));
    }
    let now = input::now(args.now.as_deref())?;
    let mut asked = Input { task: args.task.clone(), now, ..Input::words(&text) };
    if let Some(path) = &args.audio {
        asked = asked.hearing(path)?;
    }
    if let Some(path) = &args.image {
        asked = asked.seeing(path)?;
    }
    let model = load::model(&args.model)?;
    let tokenizer = model.tokenizer();
    let (prompt, ends): (Example, &[&str]) = match args.raw {
        true => {
            let ids: Vec<u32> = tokenizer.special("<text>").into_iter().chain(tokenizer.encode(&text)).collect();
            (Example { weights: vec![0.0; ids.len()], ids, ..Example::default() }, &["<end>"])
        }
        false => (asked.prompt(&model, false)?, &["<end>", "<user>"]),
    };
    let sampler = answer::sampler(&args.sample, 0.0, &model, ends)?.suited(&model, &prompt);
    let pool = recall::pool(recall::asked(&args.recall, &model).as_deref(), &model)?;
    let mut session = load::session_with(&model, pool.as_ref())?;
    interrupt::listen();
    let map = answer::take_in(&mut session, &prompt, args.route || args.route_png.is_some())?;
    if let Some(map) = &map {
        if args.route {
            heat::lines(map).iter().for_each(|line| note(line));
        }
        if let Some(path) = &args.route_png {
            heat::png(map, path)?;
        }
    }
    let route = if args.json { pollster::block_on(session.routes())? } else { Vec::new() };
    let mut last = '\n';
    let Answer { tokens, text, actions, stop } =
        answer::answer(&mut session, tokenizer, &sampler, n, &args.sample.stop, |text| {
            last = text.chars().last().unwrap_or(last);
            if args.json { Ok(()) } else { answer::show(text) }
        })?;
    if args.json {
        let route = answer::route_json(&route);
        let text = text.trim();
        let actions = answer::actions_json(&actions, now);
        let action = actions.first().cloned().unwrap_or_default();
        output::print_json(&json!({
            "text": text, "action": action, "actions": actions, "tokens": tokens, "stop": stop, "route": route,
        }))?;
    } else if last != '\n' {
        output::print("\n")?;
    }
    load::tell_memory(&model);
    match stop {
        "interrupt" => Err(Failure::Interrupted(String::new())),
        _ => Ok(()),
    }
}
