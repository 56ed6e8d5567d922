//! How fast is the machine itself at this moment? It runs no code of the cache: what changes here
//! from one run to the next is not the cache's doing, and `cargo xtask bench --against` takes that
//! much of any other change for the machine's as well.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

/// 32 MiB of places: more than the caches of a processor hold for one of its cores.
const PLACES: usize = 4 << 20;

fn control(c: &mut Criterion) {
    let mut group = c.benchmark_group("control");
    group.bench_function("arithmetic", |b| {
        b.iter(|| {
            let mut state = black_box(0x9e37_79b9_7f4a_7c15_u64);
            for _ in 0..1_000 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
            }
            state
        });
    });
    let next = cycle(PLACES);
    let mut place = 0;
    group.bench_function("memory", |b| {
        b.iter(|| {
            for _ in 0..100 {
                place = next[place];
            }
            place
        });
    });
    group.finish();
}

/// For each place the one to go to from it, so that all are visited in an order that no processor
/// foresees.
fn cycle(len: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(7));
    let mut next = vec![0; len];
    for (i, place) in order.iter().enumerate() {
        next[*place] = order[(i + 1) % len];
    }
    next
}

criterion_group!(benches, control);
criterion_main!(benches);
