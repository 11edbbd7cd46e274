//! `lichen average`: one model of two.

use crate::args::AverageArgs;
use crate::failure::{Done, Failure};
use crate::output::{bytes, note};
use crate::{files, load};

pub(crate) fn average(args: &AverageArgs) -> Done {
    let first = load::checkpoint(Some(&args.file))?;
    let other = load::checkpoint(Some(&args.other))?;
    let (name, theirs) = (args.file.display(), args.other.display());
    let mean = first.averaged(&other, args.share);
    let mean = mean.map_err(Failure::with(format!("cannot average {name} and {theirs}")))?;
    drop(other);
    files::check_writable(&args.out)?;
    files::may_overwrite(&args.out, args.yes)?;
    files::write(&args.out, |out| {
        let cannot = Failure::with(format!("cannot write {}", args.out.display()));
        mean.write(args.parts.storage(args.storage), out).map_err(cannot)
    })?;
    let len = std::fs::metadata(&args.out).map_or(0, |file| file.len());
    let share = 100.0 * args.share;
    note(&format!("{}: {:.0}% {name} and {share:.0}% {theirs}, {}", args.out.display(), 100.0 - share, bytes(len)));
    Ok(())
}
