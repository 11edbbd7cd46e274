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

// Channel by channel, so that neighbours touch different banks. No invocation touches another's column: no barriers.
var<workgroup> columns: array<f32, 2048>;

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
    let first = head * key * p.value + j;
    for (var i = 0u; i < key; i++) {
        columns[i * 32u + lane] = state[first + i * p.value];
    }
    for (var t = 0u; t < p.steps; t++) {
        let row = (b * p.steps + t) * p.heads + h;
        let q = row * 5u * key;
        let w = q + key;
        let kappa = w + key;
        let eta = kappa + key;
        let write = eta + key;
        let now = v[row * p.value + j];
        var c = 0.0;
        for (var i = 0u; i < key; i++) {
            c += columns[i * 32u + lane] * keys[kappa + i];
        }
        var sum = 0.0;
        for (var i = 0u; i < key; i++) {
            let next = keys[w + i] * columns[i * 32u + lane] - c * keys[eta + i] + keys[write + i] * now;
            columns[i * 32u + lane] = next;
            sum += keys[q + i] * next;
        }
        y[row * p.value + j] = sum;
    }
    if (live[0] != 0u) {
        for (var i = 0u; i < key; i++) {
            state[first + i * p.value] = columns[i * 32u + lane];
        }
    }
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
    let first = head * key * p.value + j;
    var s: array<f32, 64>;
    for (var i = 0u; i < key; i++) {
        s[i] = state[first + i * p.value];
    }
    for (var t = 0u; t < p.steps; t++) {
        let row = (b * p.steps + t) * p.heads + h;
        let q = row * 5u * key;
        let w = q + key;
        let kappa = w + key;
        let eta = kappa + key;
        let write = eta + key;
        let now = v[row * p.value + j];
        var c = 0.0;
        for (var i = 0u; i < key; i++) {
            c += s[i] * keys[kappa + i];
        }
        var sum = 0.0;
        for (var i = 0u; i < key; i++) {
            let next = keys[w + i] * s[i] - c * keys[eta + i] + keys[write + i] * now;
            s[i] = next;
            sum += keys[q + i] * next;
        }
        y[row * p.value + j] = sum;
    }
    if (live[0] != 0u) {
        for (var i = 0u; i < key; i++) {
            state[first + i * p.value] = s[i];
        }
    }
}
