
// Shared: sums over aligned neighbours of a workgroup of 64 invocations, known to all of them. Once an entry point.
var<workgroup> lane_sums: array<vec4<f32>, 64>;

fn sum_lanes(value: vec4<f32>, lane: u32, count: u32) -> vec4<f32> {
    lane_sums[lane] = value;
    workgroupBarrier();
    for (var step = count / 2u; step > 0u; step /= 2u) {
        if (lane % count < step) {
            lane_sums[lane] += lane_sums[lane + step];
        }
        workgroupBarrier();
    }
    return lane_sums[lane - lane % count];
}

fn sum_8(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return sum_lanes(value, lane, 8u);
}

fn sum_16(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return sum_lanes(value, lane, 16u);
}

fn sum_64(value: vec4<f32>, lane: u32) -> vec4<f32> {
    return sum_lanes(value, lane, 64u);
}
