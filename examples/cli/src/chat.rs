//! `lichen chat`, what `lichen` alone does: a conversation.
//!
//! The model's state is the conversation: nothing is read twice, and /save keeps it in a small file. Banner and
//! prompt are for people; when lines come from a pipe, each is a turn and only answers are printed.

use crate::answer;
use crate::args::{ChatArgs, Learns};
use crate::failure::{Done, Failure, plain};
use crate::input::{self, Input};
use crate::output::{bold, faint, note, short, warn};
use crate::sets::senses::Sense;
use crate::{devices, files, heat, interrupt, learn, load, memory, output, recall};
use lichen::learn::{Learner, Teaching, named};
use lichen::memory::Pool;
use lichen::session::{RouteMap, Session};
use lichen::{Model, Reply, Sampler, State, reread};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HELP: &str = "/learn TEXT  learn it for good; without TEXT, what you said last
/memory      what was learned on this device
/undo [ID]   take a lesson back, the last one without a number
/save FILE   keep this conversation in a file
/load FILE   go on with one that was kept
/route       the sections that your last turn woke, a row of shades for each layer
/see FILE    show a picture (PNG, JPEG); words may follow; then /learn this is NAME
/hear FILE   let it hear a sound (WAV); the same
/reset       forget this conversation
/quit        end (also Ctrl-D)
Ctrl-C ends an answer; a second one ends the chat.";

struct Chat {
    model: Arc<Model>,
    session: Session,
    /// Where the memory lies, unless there is to be none.
    memory: Option<PathBuf>,
    /// What was learned when the chat began, less what was undone since; none where that was nothing.
    pool: Option<Pool>,
    sampler: Sampler,
    stops: Vec<String>,
    n: usize,
    /// What the last turn woke.
    map: Option<RouteMap>,
    /// The person's last words, and those before.
    said: [Option<String>; 2],
    /// What was shown last, if nothing was said since.
    shown: Option<Sense>,
    /// What teaches, once something was to be learned.
    learner: Option<Learner>,
    /// When what a person tells becomes a lesson without being asked for.
    learns: Learns,
    threads: Option<u16>,
    file: Option<PathBuf>,
}

pub(crate) fn chat(args: &ChatArgs) -> Done {
    if args.model.list_devices {
        return devices::devices(false);
    }
    let n = answer::limit(args.n_predict)?;
    let model = load::model(&args.model)?;
    // What is to be done should not be left to chance; words may be.
    let temperature = if model.header().actions.is_some() { 0.0 } else { 0.7 };
    let sampler = answer::sampler(&args.sample, temperature, &model, &["<end>", "<user>"])?;
    let memory = recall::asked(&args.recall, &model);
    let pool = recall::pool(memory.as_deref(), &model)?;
    let session = load::session_with(&model, pool.as_ref())?;
    let stops = args.sample.stop.clone();
    let (threads, file) = (args.model.device.threads, args.model.model.clone());
    let (map, said, shown, learner) = (None, [None, None], None, None);
    let person = io::stdin().is_terminal();
    // Nobody can answer a question where lines come from a pipe.
    let unasked = if person && io::stderr().is_terminal() { Learns::Ask } else { Learns::Off };
    let can = memory.is_some() && model.header().learns();
    let learns = if can { args.learn.unwrap_or(unasked) } else { Learns::Off };
    let mut chat =
        Chat { model, session, memory, pool, sampler, stops, n, map, said, shown, learner, learns, threads, file };
    interrupt::listen();
    if person {
        chat.banner(args.model.model.as_deref());
    }
    loop {
        if person {
            eprint!("{}", bold("> "));
            // A prompt that cannot be shown is no reason not to listen.
            let _ = io::stderr().flush();
        }
        let mut line = Vec::new();
        interrupt::at_prompt(true);
        // Locked for one line only: questions are answered there too.
        let read = io::stdin().lock().read_until(b'\n', &mut line);
        interrupt::at_prompt(false);
        interrupt::clear();
        match read {
            Ok(0) if person => {
                note("");
                return Ok(());
            }
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(Failure::Failed(format!("cannot read standard input: {}", plain(&e)))),
        }
        let line = files::utf8(line, "the line");
        match line.trim() {
            "" => {}
            "/quit" | "/exit" | "/bye" => return Ok(()),
            line => match line.strip_prefix('/') {
                Some(command) => chat.command(command)?,
                None => chat.turn(line)?,
            },
        }
    }
}

impl Chat {
    fn banner(&self, path: Option<&Path>) {
        let config = self.model.config();
        let sizes = format!("{} weights, {} active", short(config.total_params()), short(config.active_params()));
        note(&format!("{} {}, {sizes}, on {}", bold("lichen"), load::name(path), self.model.device().name()));
        for line in self.model.about().lines() {
            note(&faint(&output::for_terminal(line)));
        }
        note(&faint("Nothing leaves this machine. /help lists commands, Ctrl-C ends an answer."));
    }

    /// One turn. Errors of the device end the chat, Ctrl-C only the answer.
    fn turn(&mut self, text: &str) -> Done {
        // What is asked of the memory is answered by the memory.
        let plain = text.trim_end_matches(|c: char| c.is_ascii_punctuation()).to_lowercase();
        match plain.as_str() {
            "what do you know about me" | "what have you learned" => return self.command("memory"),
            "forget that" if self.memory.is_some() => return self.command("undo"),
            _ => {}
        }
        self.said.rotate_right(1);
        self.said[0] = Some(text.to_string());
        self.shown = None;
        if self.say(&Input { now: input::now(None)?, ..Input::words(text) })? {
            return self.offer();
        }
        Ok(())
    }

    /// Something was told and understood: it may be kept for good.
    fn offer(&mut self) -> Done {
        let learn = match self.learns {
            Learns::Off => false,
            Learns::Ask => files::confirm(&faint("Remember this for good?")),
            Learns::Auto => true,
        };
        if learn { self.command("learn") } else { Ok(()) }
    }

    /// Says something and shows the answer. Whether the answer takes note of something that was told.
    fn say(&mut self, said: &Input) -> Done<bool> {
        let tokenizer = self.model.tokenizer();
        let prompt = said.prompt(&self.model, self.session.position() > 0)?;
        self.map = None;
        match answer::take_in(&mut self.session, &prompt, self.model.config().sections > 0) {
            Err(Failure::Interrupted(_)) => {
                note(&faint("(not all of it was read)"));
                return Ok(false);
            }
            other => self.map = other?,
        }
        let mut last = '\n';
        let answer = answer::answer(&mut self.session, tokenizer, &self.sampler, self.n, &self.stops, |text| {
            last = text.chars().last().unwrap_or(last);
            answer::show(text)
        })?;
        if last != '\n' || answer.text.is_empty() {
            output::print("\n")?;
        }
        // Each answer its own draws, also when a seed was given: the same question twice is not the same draw twice.
        self.sampler.seed = self.sampler.seed.wrapping_add(1);
        let noted = answer.stop != "interrupt" && Reply::read(tokenizer, &answer.tokens).takes_note();
        if noted {
            pollster::block_on(reread(&mut self.session, &prompt, &answer.tokens))?;
        }
        Ok(noted)
    }

    /// A command; what goes wrong is said and the chat goes on.
    fn command(&mut self, command: &str) -> Done {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let file = Path::new(rest.trim());
        let result = match (name, rest.trim()) {
            ("help", _) => {
                note(HELP);
                Ok(())
            }
            ("save" | "load", "") => Err(Failure::Usage(format!("/{name} needs a file: /{name} talk.state"))),
            ("save", _) => self.save(file),
            ("load", _) => self.load(file),
            ("see" | "hear", "") => Err(Failure::Usage(format!("/{name} needs a file"))),
            ("see" | "hear", rest) => self.perceive(name == "see", rest),
            ("route", _) => self.route(),
            ("reset", _) => self.reset(),
            ("learn", text) => self.learn(text),
            ("memory", _) => self.lessons(),
            ("undo", id) => self.undo(id),
            _ => Err(Failure::Usage(format!("there is no /{name}; /help lists the commands"))),
        };
        match result {
            // Ctrl-C ended a lesson.
            Err(Failure::Interrupted(why)) => {
                if !why.is_empty() {
                    note(&faint(&why));
                }
                Ok(())
            }
            Err(Failure::Usage(_) | Failure::Failed(_)) => {
                if let Err(failure) = result {
                    warn(&failure.line());
                }
                Ok(())
            }
            other => other,
        }
    }

    fn save(&mut self, path: &Path) -> Done {
        files::may_overwrite(path, false)?;
        let bytes = pollster::block_on(self.session.state())?.to_bytes();
        files::write(path, |out| out.write_all(&bytes).map_err(|e| Failure::file("write", path, &e)))?;
        note(&faint(&format!("{}: {}", path.display(), output::bytes(bytes.len() as u64))));
        Ok(())
    }

    fn load(&mut self, path: &Path) -> Done {
        let bytes = files::map(path)?;
        let cannot = || Failure::with(format!("cannot load {}", path.display()));
        let state = State::from_bytes(&bytes).map_err(cannot())?;
        self.session.restore(&state).map_err(cannot())?;
        // What was learned or taken back since may lie where muted sections lay.
        self.session.unmute()?;
        self.shown = None;
        note(&faint(&format!("{} tokens remembered", state.position())));
        Ok(())
    }

    fn route(&mut self) -> Done {
        if self.session.position() == 0 {
            return Err(Failure::Usage("nothing was said yet".into()));
        }
        match &self.map {
            Some(map) => heat::lines(map).iter().for_each(|line| note(line)),
            None if self.model.config().sections == 0 => note("every token wakes all of this model"),
            None => note("the last turn was too long to note its route"),
        }
        Ok(())
    }

    /// A turn with a picture or a sound; its file's name ends at the first space that leaves a file.
    fn perceive(&mut self, sees: bool, rest: &str) -> Done {
        let cuts = rest.match_indices(' ').map(|(at, _)| rest.split_at(at)).chain([(rest, "")]);
        let found = cuts.into_iter().find(|(file, _)| Path::new(file).is_file());
        let (file, words) = found.unwrap_or((rest, ""));
        let said = Input { now: input::now(None)?, ..Input::words(words) };
        let said = if sees { said.seeing(Path::new(file))? } else { said.hearing(Path::new(file))? };
        self.say(&said)?;
        self.shown = said.shown();
        Ok(())
    }

    /// The memory's file.
    fn place(&self) -> Done<&Path> {
        self.memory.as_deref().ok_or_else(|| Failure::Usage("this chat goes on without a memory".into()))
    }

    fn lessons(&self) -> Done {
        let memory = recall::to_read(self.place()?, self.model.header())?;
        let lessons = memory.map_or_else(|| Ok(Vec::new()), |memory| memory.list())?;
        if lessons.is_empty() {
            note("nothing was learned yet");
        }
        memory::lines(&lessons).iter().for_each(|line| note(&output::for_terminal(line)));
        Ok(())
    }

    /// Learns something for good; the conversation goes on with it.
    fn learn(&mut self, text: &str) -> Done {
        let path = self.place()?.to_path_buf();
        // "/see dog.png", then "/learn this is Biscuit".
        let named = self.shown.as_ref().filter(|_| named(text).is_some()).map(|shown| learn::naming(shown, text));
        let teaching = match (named, text, &self.said) {
            (Some(named), ..) => named,
            (_, "", [None, _]) => {
                return Err(Failure::Usage("/learn what? /learn I take my coffee without sugar".into()));
            }
            (_, "", [Some(said), Some(asked)]) if corrects(said) => {
                Teaching::Correction { asked: asked.clone(), said: said.clone() }
            }
            (_, "", [Some(said), _]) => Teaching::Statement(said.clone()),
            (_, text, _) => Teaching::Statement(text.into()),
        };
        let mut memory = recall::to_write(&path, self.model.header(), "chat")?;
        if self.learner.is_none() {
            let model = match self.model.device().is_cpu() && self.model.paging().is_none() {
                true => self.model.clone(),
                false => load::to_learn(self.file.as_deref(), self.threads)?,
            };
            self.learner = Some(learn::prepared(&model, Some(&mut memory), false)?);
        }
        let Some(learner) = &mut self.learner else { return Ok(()) };
        learn::learn_for_good(learner, &teaching, &mut memory, false)?;
        self.shown = None;
        let fits = match &mut self.pool {
            Some(pool) => pool.update(&memory, &self.model)?,
            None => false,
        };
        if !fits {
            // A larger pool, and a session that goes on with it.
            let pool = pollster::block_on(memory.pool(&self.model))?;
            let state = pollster::block_on(self.session.state())?;
            self.session = load::session_with(&self.model, Some(&pool))?;
            self.session.restore(&state)?;
            self.pool = Some(pool);
        }
        // Lessons may have other places now.
        Ok(self.session.unmute()?)
    }

    /// Takes a lesson back, for this chat too.
    fn undo(&mut self, id: &str) -> Done {
        let number =
            || id.parse().map_err(|_| Failure::Usage(format!("/undo takes the number of a lesson, not {id:?}")));
        let id = if id.is_empty() { None } else { Some(number()?) };
        let path = self.place()?;
        if !recall::exists(path) {
            return Err(Failure::Failed("nothing was learned yet".into()));
        }
        let memory = memory::undo(recall::to_write(path, self.model.header(), "chat")?, id)?;
        if let Some(pool) = &mut self.pool
            && !pool.update(&memory, &self.model)?
        {
            // Others may have taught meanwhile.
            note("more was learned since this chat began than it has room for: start it again to use that");
        }
        Ok(self.session.unmute()?)
    }

    fn reset(&mut self) -> Done {
        self.session.reset()?;
        self.said = [None, None];
        self.shown = None;
        note(&faint("forgotten"));
        Ok(())
    }
}

/// Whether a turn says that the answer before was not what was meant.
fn corrects(said: &str) -> bool {
    let first = said.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase();
    matches!(first.as_str(), "no" | "nope" | "wrong") || said.to_lowercase().starts_with("i meant")
}
