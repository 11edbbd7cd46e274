
// Shared: sections in chunks, for kernels that bind chunk0 to chunk3 and have the window in `p` and the constant
// one_chunk: software adapters would look into all four at every weight.
override one_chunk: bool = false;

// Chunk and first element of a section; chunk 4 stands for an id outside the window.
fn section_place(id: u32) -> vec2<u32> {
    let local = id - p.first;
    let lengths = vec4<u32>(p.c0, p.c1, p.c2, p.c3);
    if (id < p.first || local >= min(p.chunks, 4u) * p.per_chunk) {
        return vec2<u32>(4u, 0u);
    }
    let chunk = local / p.per_chunk;
    let at = (local % p.per_chunk) * p.stride;
    return vec2<u32>(select(4u, chunk, at + 2u * p.neurons * p.width <= lengths[chunk]), at);
}

// Four weights `step` apart: one choice of the chunk for four loads.
fn section_four(chunk: u32, at: u32, step: vec4<u32>) -> vec4<f32> {
    let i = at + step;
    if (one_chunk) {
        return vec4<f32>(chunk0[i.x], chunk0[i.y], chunk0[i.z], chunk0[i.w]);
    }
    switch (chunk) {
        case 0u: {
            return vec4<f32>(chunk0[i.x], chunk0[i.y], chunk0[i.z], chunk0[i.w]);
        }
        case 1u: {
            return vec4<f32>(chunk1[i.x], chunk1[i.y], chunk1[i.z], chunk1[i.w]);
        }
        case 2u: {
            return vec4<f32>(chunk2[i.x], chunk2[i.y], chunk2[i.z], chunk2[i.w]);
        }
        default: {
            return vec4<f32>(chunk3[i.x], chunk3[i.y], chunk3[i.z], chunk3[i.w]);
        }
    }
}

