
// Shared: the functions of sums.wgsl where a subgroup holds at least 8 neighbours: those need no barrier.
var<workgroup> lane_sums: array<vec4<f32>, 8>;

fn sum_8(value: vec4<f32>, lane: u32) -> vec4<f32> {
    var sum = value;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    sum += subgroupShuffleXor(sum, 4u);
    return sum;
}

fn share_eights(value: vec4<f32>, lane: u32) {
    let sum = sum_8(value, lane);
    if (lane % 8u == 0u) {
        lane_sums[lane / 8u] = sum;
    }
    workgroupBarrier();
}

fn sum_16(value: vec4<f32>, lane: u32) -> vec4<f32> {
    share_eights(value, lane);
    let first = lane / 16u * 2u;
    return lane_sums[first] + lane_sums[first + 1u];
}

fn sum_64(value: vec4<f32>, lane: u32) -> vec4<f32> {
    share_eights(value, lane);
    var sum = lane_sums[0];
    for (var i = 1u; i < 8u; i++) {
        sum += lane_sums[i];
    }
    return sum;
}
