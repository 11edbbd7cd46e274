// Lists of the slots that picked each section: plan is the ids, then tiles of 16 slots, ascending within a section.
// ids [picks], counts [sections], plan [picks + tiles * 16].
// count, list: one workgroup a section, its 64 invocations share the picks in consecutive parts.
// count_serial, list_serial: one invocation a section, no barrier. Past the last section one more ends the tiles.

struct Params {
    picks: u32,
    sections: u32,
}

@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> plan: array<u32>;
@group(0) @binding(3) var<uniform> p: Params;

const TILE = 16u;

var<workgroup> partial: array<u32, 64>;

fn copy_ids(begin: u32, step: u32) {
    for (var i = begin; i < p.picks; i += step) {
        plan[i] = ids[i];
    }
}

// Picks of a section among those from `begin` to before `end`. Four a turn: software adapters count turns.
fn picks_of(section: u32, begin: u32, end: u32) -> u32 {
    var count = 0u;
    for (var i = begin; i < end; i += 4u) {
        let at = i + vec4<u32>(0u, 1u, 2u, 3u);
        let in_part = at < vec4<u32>(end);
        let last = min(at, vec4<u32>(end - 1u));
        let four = vec4<u32>(ids[last.x], ids[last.y], ids[last.z], ids[last.w]);
        let found = select(vec4<u32>(0u), vec4<u32>(1u), in_part & (four == vec4<u32>(section)));
        count += found.x + found.y + found.z + found.w;
    }
    return count;
}

// Tiles of the sections `begin`, `begin + step`, and so on, before `section`.
fn tiles_before(section: u32, begin: u32, step: u32) -> u32 {
    var tiles = 0u;
    for (var s = begin; s < section; s += step) {
        tiles += (counts[s] + TILE - 1u) / TILE;
    }
    return tiles;
}

// Writes the section's slots among those from `begin` to before `end`, the first of them at `to` in the plan.
fn write_slots(section: u32, begin: u32, end: u32, to: u32) {
    var next = to;
    for (var i = begin; i < end; i++) {
        if (ids[i] == section) {
            plan[next] = i;
            next++;
        }
    }
}

// Fills up a section's last tile; past the last section, marks the tiles that are left.
fn write_rest(section: u32, first_tile: u32, begin: u32, step: u32) {
    let lists = p.picks + first_tile * TILE;
    if (section == p.sections) {
        let tiles = (p.picks + min(p.sections, p.picks) * (TILE - 1u)) / TILE;
        for (var i = lists + begin * TILE; i < p.picks + tiles * TILE; i += step * TILE) {
            plan[i] = 0xFFFFFFFFu;
        }
        return;
    }
    let count = counts[section];
    for (var i = count + begin; i < (count + TILE - 1u) / TILE * TILE; i += step) {
        plan[lists + i] = 0xFFFFFFFFu;
    }
}

@compute @workgroup_size(64)
fn count(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let section = wid.x + wid.y * groups.x;
    if (section >= p.sections) {
        return;
    }
    copy_ids(section * 64u + lane, p.sections * 64u);
    let part = (p.picks + 63u) / 64u;
    partial[lane] = picks_of(section, lane * part, min((lane + 1u) * part, p.picks));
    workgroupBarrier();
    for (var step = 32u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        counts[section] = partial[0];
    }
}

@compute @workgroup_size(64)
fn list(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let section = wid.x + wid.y * groups.x;
    if (section > p.sections) {
        return;
    }
    partial[lane] = tiles_before(section, lane, 64u);
    workgroupBarrier();
    for (var step = 32u; step > 0u; step /= 2u) {
        if (lane < step) {
            partial[lane] += partial[lane + step];
        }
        workgroupBarrier();
    }
    let first_tile = partial[0];
    workgroupBarrier();
    let part = (p.picks + 63u) / 64u;
    let begin = lane * part;
    let end = min(begin + part, p.picks);
    partial[lane] = picks_of(section, begin, end);
    workgroupBarrier();
    if (section < p.sections) {
        var to = p.picks + first_tile * TILE;
        for (var before = 0u; before < lane; before++) {
            to += partial[before];
        }
        write_slots(section, begin, end, to);
    }
    write_rest(section, first_tile, lane, 64u);
}

@compute @workgroup_size(8)
fn count_serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let section = (wid.x + wid.y * groups.x) * 8u + lane;
    if (section >= p.sections) {
        return;
    }
    copy_ids(section, p.sections);
    counts[section] = picks_of(section, 0u, p.picks);
}

@compute @workgroup_size(8)
fn list_serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let section = (wid.x + wid.y * groups.x) * 8u + lane;
    if (section > p.sections) {
        return;
    }
    let first_tile = tiles_before(section, 0u, 1u);
    if (section < p.sections) {
        write_slots(section, 0u, p.picks, p.picks + first_tile * TILE);
    }
    write_rest(section, first_tile, 0u, 1u);
}
