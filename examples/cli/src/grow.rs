//! `lichen grow`: the same model with room for more.

use crate::args::GrowArgs;
use crate::failure::{Done, Failure};
use crate::output::{bytes, note, short};
use crate::{files, load};

pub(crate) fn grow(args: &GrowArgs) -> Done {
    let path = args.file.as_deref().or(args.model.as_deref());
    let before = load::checkpoint(path)?;
    let grown = before.grown(args.sections, args.seed);
    let grown = grown.map_err(Failure::with(format!("cannot grow {}", load::name(path))))?;
    files::check_writable(&args.out)?;
    files::may_overwrite(&args.out, args.yes)?;
    files::write(&args.out, |out| {
        let cannot = Failure::with(format!("cannot write {}", args.out.display()));
        grown.write(before.header.storage, out).map_err(cannot)
    })?;
    let (old, new) = (before.config(), grown.config());
    note(&format!(
        "{}: {} sections a layer instead of {}, {} weights instead of {}, {} active, {}",
        args.out.display(),
        new.sections,
        old.sections,
        short(new.total_params()),
        short(old.total_params()),
        short(new.active_params()),
        bytes(std::fs::metadata(&args.out).map_or(0, |file| file.len())),
    ));
    Ok(())
}
