//! What does the stored form of a record cost, by the size of its payload?

use std::hint::black_box;

use bytes::Bytes;
use cache_benches::{market::Market, warm};
use cache_core::{Clock, Codec, CodecId, Entry, Json, PAYLOAD_LEN_MAX, SystemClock, Ttl, wire};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn records(c: &mut Criterion) {
    let market = Market::shipped().expect("the sample is shipped");
    let encode = |json: cache_core::Result<Bytes>| json.expect("bars have an encoding");
    record(c, "a bar", encode(Json.encode(&market.bars()[0])));
    record(c, "all bars", encode(Json.encode(&market.bars().to_vec())));
}

fn record(c: &mut Criterion, name: &str, payload: Bytes) {
    let len = payload.len() as u64;
    let now = SystemClock::new().now();
    let entry = Entry::new(payload, CodecId(1), now, Ttl::fresh(warm::ttl()));
    let bytes = Bytes::from(wire::encode_value(&entry, 7));

    let mut group = c.benchmark_group(format!("wire/{name}, {len} bytes"));
    group.throughput(Throughput::Bytes(len));
    group.bench_function("encode", |b| b.iter(|| wire::encode_value(black_box(&entry), 7)));
    group.bench_function("decode", |b| {
        b.iter(|| wire::decode(black_box(&bytes), PAYLOAD_LEN_MAX));
    });
    group.finish();
}

criterion_group!(benches, records);
criterion_main!(benches);
