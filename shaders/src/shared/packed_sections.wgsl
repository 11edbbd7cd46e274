
// Shared: packed sections in chunks of words, for kernels that bind chunk0 to chunk3, have the window in `p` and the
// constants format and one_chunk.
override one_chunk: bool = false;

fn word(chunk: u32, at: u32) -> u32 {
    if (one_chunk) {
        return chunk0[at];
    }
    switch (chunk) {
        case 0u: {
            return chunk0[at];
        }
        case 1u: {
            return chunk1[at];
        }
        case 2u: {
            return chunk2[at];
        }
        default: {
            return chunk3[at];
        }
    }
}

// Words of half a slab: quants, scales two to a word, padding to 64.
fn half_slab() -> u32 {
    let weights = p.neurons * p.width;
    let scales = (weights / 32u + 1u) / 2u;
    var words = weights / 2u;
    if (format == 1u) {
        words = weights / 4u + scales;
    } else if (format > 1u) {
        words = weights / 8u + scales;
    }
    return (words + 63u) / 64u * 64u;
}

// Chunk and first word of a section; chunk 4 stands for an id outside the window.
fn packed_place(id: u32) -> vec2<u32> {
    let local = id - p.first;
    let lengths = vec4<u32>(p.c0, p.c1, p.c2, p.c3);
    if (id < p.first || local >= min(p.chunks, 4u) * p.per_chunk) {
        return vec2<u32>(4u, 0u);
    }
    let chunk = local / p.per_chunk;
    let at = (local % p.per_chunk) * p.stride;
    return vec2<u32>(select(4u, chunk, at + 2u * half_slab() <= lengths[chunk]), at);
}
