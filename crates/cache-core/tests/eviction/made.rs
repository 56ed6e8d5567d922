//! Made traffic of the kinds that are hard for one policy or another.

use std::collections::BTreeMap;

use cache_core::Eviction;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::hit_ratio;

const REQUESTS: usize = 60_000;

/// Makes traffic of one kind.
type Make = fn(&mut SmallRng) -> Vec<u64>;

/// Each key comes twice, up to 800 requests apart, and never again.
fn twice(random: &mut SmallRng) -> Vec<u64> {
    let mut due = BTreeMap::new();
    let mut keys = Vec::new();
    for now in 0..REQUESTS {
        let key = due.remove(&now).unwrap_or_else(|| {
            let mut again = now + random.random_range(1..800);
            while due.contains_key(&again) {
                again += 1;
            }
            due.insert(again, now as u64);
            now as u64
        });
        keys.push(key);
    }
    keys
}

/// 300 keys live at a time, each for up to a dozen requests.
fn bursts(random: &mut SmallRng) -> Vec<u64> {
    let mut live: Vec<(u64, u32)> = Vec::new();
    let mut born = 0;
    (0..REQUESTS)
        .map(|_| {
            while live.len() < 300 {
                born += 1;
                live.push((born, random.random_range(1..=12)));
            }
            let place = random.random_range(0..live.len());
            let (key, left) = &mut live[place];
            let key = *key;
            *left -= 1;
            if *left == 0 {
                live.swap_remove(place);
            }
            key
        })
        .collect()
}

/// Few keys are popular, and which ones drifts.
fn drift(random: &mut SmallRng) -> Vec<u64> {
    (0..REQUESTS as u64).map(|now| popular(random) + now / 20).collect()
}

/// Few keys are popular; now and then somebody reads a thousand others, once.
fn scans(random: &mut SmallRng) -> Vec<u64> {
    let mut scanned = 1 << 40;
    (0..REQUESTS)
        .map(|now| {
            if now % 4_000 < 1_000 {
                scanned += 1;
                scanned
            } else {
                popular(random)
            }
        })
        .collect()
}

/// 3,000 keys, over and over.
fn turns(_: &mut SmallRng) -> Vec<u64> {
    (0..REQUESTS as u64).map(|now| now % 3_000).collect()
}

/// One of 3,000 keys; the first hundred are as often asked for as the next nine hundred.
fn popular(random: &mut SmallRng) -> u64 {
    3_000_f64.powf(random.random::<f64>()) as u64
}

#[test]
fn the_default_is_never_far_below_lru_on_made_traffic() {
    let kinds: [(&str, Make); 5] = [
        ("twice", twice),
        ("bursts", bursts),
        ("drift", drift),
        ("scans", scans),
        ("turns", turns),
    ];
    for (name, make) in kinds {
        let keys = make(&mut SmallRng::seed_from_u64(1));
        for capacity in [100, 400, 1_600] {
            let [default, lru] = [Eviction::default(), Eviction::Lru]
                .map(|policy| hit_ratio(policy, capacity, &keys));
            println!("{name}, {capacity} records: {default:.4}, LRU {lru:.4}");
            assert!(default >= lru - 0.015, "{name}, {capacity} records: {default}, LRU {lru}");
        }
    }
}

#[test]
fn the_default_keeps_what_is_popular_through_scans_and_half_of_what_fits_of_a_loop() {
    let scans = scans(&mut SmallRng::seed_from_u64(2));
    let [default, lru] =
        [Eviction::default(), Eviction::Lru].map(|policy| hit_ratio(policy, 400, &scans));
    assert!(default > lru + 0.02, "{default}, LRU {lru}");

    let turns = turns(&mut SmallRng::seed_from_u64(2));
    let ratio = hit_ratio(Eviction::default(), 600, &turns);
    assert!(ratio > 0.1, "a fifth of the keys fits, {ratio} of the requests hit");
}
