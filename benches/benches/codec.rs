//! What does it cost to turn a real bar into bytes and back?

use std::hint::black_box;

use cache_benches::{bar::Bar, market::Market};
use cache_core::{Codec, Json, Postcard};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn codecs(c: &mut Criterion) {
    let bar = Market::shipped().expect("the sample is shipped").bars()[0].clone();
    codec(c, "json", &Json, &bar);
    codec(c, "postcard", &Postcard, &bar);
}

fn codec(c: &mut Criterion, name: &str, codec: &impl Codec<Bar>, bar: &Bar) {
    let payload = codec.encode(bar).expect("a bar has an encoding");
    let mut group = c.benchmark_group(format!("codec/{name}, {} bytes", payload.len()));
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode", |b| b.iter(|| codec.encode(black_box(bar))));
    group.bench_function("decode", |b| b.iter(|| codec.decode(black_box(&payload))));
    group.finish();
}

criterion_group!(benches, codecs);
criterion_main!(benches);
