// Column scan: c = sum_i s[i]*kappa[i], s[i] = w[i]*s[i] - c*eta[i] + write[i]*v[j], y[j] = sum_i q[i]*s[i].
// keys [batch, steps, heads, 5, key] in the order q, w, kappa, eta, write, v and y [batch, steps, heads, value],
// state [batch, heads, key, value]. One invocation a column; key is at most 64.
// column: the state in workgroup memory. serial: in the invocation's own, which suits adapters without such memory.

struct Params {
    batch: u32,
    steps: u32,
    heads: u32,
    key: u32,
    value: u32,
}

@group(0) @binding(0) var<storage, read> keys: array<f32>;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read_write> state: array<f32>;
@group(0) @binding(3) var<storage, read> live: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<uniform> p: Params;

// Eight channels at a time, because llvmpipe silently ends a shader's loops after 65536 turns in all.

// The new value of the channel whose q lies at `at`.
fn renew(at: u32, old: f32, c: f32, now: f32) -> f32 {
    return keys[at + p.key] * old - c * keys[at + 3u * p.key] + keys[at + 4u * p.key] * now;
}

// Channel by channel, so that neighbours touch different banks. No invocation touches another's column: no barriers.
var<workgroup> columns: array<f32, 2048>;

fn column_pull(lane: u32, kappa: u32, i: u32) -> f32 {
    return columns[i * 32u + lane] * keys[kappa + i];
}

// Moves channel i on and returns its share of y.
fn column_step(lane: u32, q: u32, i: u32, c: f32, now: f32) -> f32 {
    let next = renew(q + i, columns[i * 32u + lane], c, now);
    columns[i * 32u + lane] = next;
    return keys[q + i] * next;
}

@compute @workgroup_size(32)
fn column(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 32u + lane;
    if (at >= p.batch * p.heads * p.value) {
        return;
    }
    let j = at % p.value;
    let head = at / p.value;
    let b = head / p.heads;
    let h = head % p.heads;
    let key = min(p.key, 64u);
    let whole = key / 8u * 8u;
    let first = head * p.key * p.value + j;
    for (var i = 0u; i < key; i++) {
        columns[i * 32u + lane] = state[first + i * p.value];
    }
    for (var t = 0u; t < p.steps; t++) {
        let row = (b * p.steps + t) * p.heads + h;
        let q = row * 5u * p.key;
        let kappa = q + 2u * p.key;
        let now = v[row * p.value + j];
        var c = 0.0;
        for (var i = 0u; i < whole; i += 8u) {
            c += column_pull(lane, kappa, i);
            c += column_pull(lane, kappa, i + 1u);
            c += column_pull(lane, kappa, i + 2u);
            c += column_pull(lane, kappa, i + 3u);
            c += column_pull(lane, kappa, i + 4u);
            c += column_pull(lane, kappa, i + 5u);
            c += column_pull(lane, kappa, i + 6u);
            c += column_pull(lane, kappa, i + 7u);
        }
        for (var i = whole; i < key; i++) {
            c += column_pull(lane, kappa, i);
        }
        var sum = 0.0;
        for (var i = 0u; i < whole; i += 8u) {
            sum += column_step(lane, q, i, c, now);
            sum += column_step(lane, q, i + 1u, c, now);
            sum += column_step(lane, q, i + 2u, c, now);
            sum += column_step(lane, q, i + 3u, c, now);
            sum += column_step(lane, q, i + 4u, c, now);
            sum += column_step(lane, q, i + 5u, c, now);
            sum += column_step(lane, q, i + 6u, c, now);
            sum += column_step(lane, q, i + 7u, c, now);
        }
        for (var i = whole; i < key; i++) {
            sum += column_step(lane, q, i, c, now);
        }
        y[row * p.value + j] = sum;
    }
    if (live[0] != 0u) {
        for (var i = 0u; i < key; i++) {
            state[first + i * p.value] = columns[i * 32u + lane];
        }
    }
}

fn serial_pull(s: ptr<function, array<f32, 64>>, kappa: u32, i: u32) -> f32 {
    return (*s)[i] * keys[kappa + i];
}

fn serial_step(s: ptr<function, array<f32, 64>>, q: u32, i: u32, c: f32, now: f32) -> f32 {
    let next = renew(q + i, (*s)[i], c, now);
    (*s)[i] = next;
    return keys[q + i] * next;
}

@compute @workgroup_size(32)
fn serial(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (wid.x + wid.y * groups.x) * 32u + lane;
    if (at >= p.batch * p.heads * p.value) {
        return;
    }
    let j = at % p.value;
    let head = at / p.value;
    let b = head / p.heads;
    let h = head % p.heads;
    let key = min(p.key, 64u);
    let whole = key / 8u * 8u;
    let first = head * p.key * p.value + j;
    var s: array<f32, 64>;
    for (var i = 0u; i < key; i++) {
        s[i] = state[first + i * p.value];
    }
    for (var t = 0u; t < p.steps; t++) {
        let row = (b * p.steps + t) * p.heads + h;
        let q = row * 5u * p.key;
        let kappa = q + 2u * p.key;
        let now = v[row * p.value + j];
        var c = 0.0;
        for (var i = 0u; i < whole; i += 8u) {
            c += serial_pull(&s, kappa, i);
            c += serial_pull(&s, kappa, i + 1u);
            c += serial_pull(&s, kappa, i + 2u);
            c += serial_pull(&s, kappa, i + 3u);
            c += serial_pull(&s, kappa, i + 4u);
            c += serial_pull(&s, kappa, i + 5u);
            c += serial_pull(&s, kappa, i + 6u);
            c += serial_pull(&s, kappa, i + 7u);
        }
        for (var i = whole; i < key; i++) {
            c += serial_pull(&s, kappa, i);
        }
        var sum = 0.0;
        for (var i = 0u; i < whole; i += 8u) {
            sum += serial_step(&s, q, i, c, now);
            sum += serial_step(&s, q, i + 1u, c, now);
            sum += serial_step(&s, q, i + 2u, c, now);
            sum += serial_step(&s, q, i + 3u, c, now);
            sum += serial_step(&s, q, i + 4u, c, now);
            sum += serial_step(&s, q, i + 5u, c, now);
            sum += serial_step(&s, q, i + 6u, c, now);
            sum += serial_step(&s, q, i + 7u, c, now);
        }
        for (var i = whole; i < key; i++) {
            sum += serial_step(&s, q, i, c, now);
        }
        y[row * p.value + j] = sum;
    }
    if (live[0] != 0u) {
        for (var i = 0u; i < key; i++) {
            state[first + i * p.value] = s[i];
        }
    }
}
