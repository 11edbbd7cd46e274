//! Lists of the slots that picked each section, so that the section kernels read a section once for many tokens.
//!
//! `plan` is the ids as they came, then tiles of [`TILE`] slots: those of section 0 in ascending order, then those of
//! section 1, and so on, each section from a tile of its own on. A section's last tile is filled up with
//! [`crate::NONE`], a tile that no section needs starts with it. Ids from `sections` on are in no list.
//!
//! Shapes: ids `[picks]`, counts `[sections]`, plan [picks + tiles TILE]. How many tiles there are follows from the
//! params alone. The lists name slots, not ids: a caller may write over the ids in the plan with where sections lie.
//! Cost: O(sections picks) for all sections together, each walks the picks by itself.

use crate::NONE;
use crate::cases::Cases;
use crate::kernel::{Real, Tolerance, Traits, grid};

/// Slots of a tile. Sections that a chunk of 256 tokens picks have about 20 slots in the models of this family: with
/// larger tiles more places would stay empty, with smaller ones a section is read more often.
pub const TILE: u32 = 16;

crate::params! {
    /// Slots of all tokens.
    picks: u32,
    /// Sections.
    sections: u32,
}

crate::kernel! {
    name: "section_lists",
    bindings(p) {
        read ids: index [p.picks],
        write counts: index [p.sections],
        write plan: index [p.picks + tiles(p.picks, p.sections) * TILE],
    }
    variants {
        workgroup => [count => grid(p.sections), list => grid(p.sections + 1)],
        serial => [count_serial => grid(p.sections.div_ceil(8)), list_serial => grid((p.sections + 1).div_ceil(8))],
    }
    // One invocation's loops must stay short on software adapters.
    choose(p, t): if t.software && p.picks <= 1 << 15 { 1 } else { 0 },
    backward: none,
    tolerance: Tolerance::EXACT,
}

/// Tiles that hold every choice of so many picks: all but one slot of each section's last tile may be empty.
pub fn tiles(picks: u32, sections: u32) -> u32 {
    (picks + sections.min(picks) * (TILE - 1)) / TILE
}

/// Whether lists pay. A tile costs about the same with one slot as with many: on software adapters reading sections
/// again for each token was faster up to about four slots a section (measured on llvmpipe). What other adapters gain,
/// fewer bytes read, starts earlier.
pub fn pay(picks: u32, sections: u32, t: Traits) -> bool {
    picks > sections * if t.software { 4 } else { 1 }
}

fn reference<F: Real>(p: &Params, a: Args<F>) {
    let (ids, lists) = a.plan.split_at_mut(p.picks as usize);
    ids.copy_from_slice(a.ids);
    let mut tiles = lists.chunks_mut(TILE as usize);
    for (section, count) in (0..).zip(a.counts) {
        let slots: Vec<u32> = (0..p.picks).filter(|&slot| a.ids[slot as usize] == section).collect();
        *count = slots.len() as u32;
        for (slots, tile) in slots.chunks(TILE as usize).zip(&mut tiles) {
            tile.fill(NONE);
            tile[..slots.len()].copy_from_slice(slots);
        }
    }
    tiles.for_each(|tile| tile[0] = NONE);
}

/// The plan of these ids: what section kernels bind in their test cases.
pub(crate) fn plan(ids: &[u32], sections: u32) -> Vec<u32> {
    let p = Params { picks: ids.len() as u32, sections };
    let mut counts = vec![0; sections as usize];
    let mut plan = vec![NONE; ids.len() + (tiles(p.picks, sections) * TILE) as usize];
    reference::<f32>(&p, Args { ids, counts: &mut counts, plan: &mut plan, real: std::marker::PhantomData });
    plan
}

fn cases(c: &mut Cases<Params>) {
    c.add("one", Params { picks: 1, sections: 1 });
    c.add("more_sections_than_picks", Params { picks: 3, sections: 70 }).ids("ids", |r, _| r.below(70) as u32);
    // One section has every pick; the others none.
    for picks in [15, 16, 17, 63, 64, 65, 130] {
        c.add(&format!("all{picks}"), Params { picks, sections: 5 }).ids("ids", |_, _| 3);
    }
    // Empty sections, ids outside and none at all.
    let ids = [7, 2, NONE, 2, 0, 8, 9, 100, 7, 2, u32::MAX - 1, 0];
    c.add("outside", Params { picks: 12, sections: 9 }).ids("ids", |_, i| ids[i]);
    c.add("nobody", Params { picks: 6, sections: 2 }).ids("ids", |_, i| if i == 4 { 1 } else { NONE });
    // The most tiles that there can be: each section has one slot more than whole tiles.
    c.add("worst", Params { picks: 3 * 17, sections: 3 }).ids("ids", |_, i| i as u32 % 3);
    for sections in [63, 64, 65] {
        c.add(&format!("s{sections}"), Params { picks: 777, sections }).ids("ids", |r, _| r.below(64) as u32);
    }
    // The first slot of each token is a shared section's.
    c.add("real", Params { picks: 256 * 6, sections: 65 })
        .ids("ids", |r, i| if i % 6 == 0 { 0 } else { 1 + r.below(64) as u32 });
}
