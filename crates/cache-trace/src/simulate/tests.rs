use super::*;
use crate::{Columns, Request, TraceBuilder, sample::mix};

/// Keys of very different popularity: of each that is drawn, every second one is among the first
/// hundred, and so on.
fn skewed(reads: u64, keys: u64) -> Trace {
    let columns = Columns { size: true, cost: true, ..Columns::default() };
    let mut builder = TraceBuilder::new(columns, usize::MAX);
    for i in 0..reads {
        let even = (mix(i) >> 11) as f64 / (1_u64 << 53) as f64;
        let key = (keys as f64).powf(even) as u64;
        let size = 10 + (mix(key) % 100) as u32;
        builder.push(Request { hash: mix(!key), size, cost: 1 + size % 7, ..Request::default() });
    }
    builder.finish().unwrap()
}

fn plan(contenders: &str, sizes: &str, sampling: Sampling) -> Plan {
    Plan {
        contenders: contenders.split(',').map(|name| name.parse().unwrap()).collect(),
        sizes: sizes.split(',').map(|size| size.parse().unwrap()).collect(),
        sampling,
    }
}

#[test]
fn points_come_policy_by_policy_and_size_by_size() {
    let trace = skewed(1_000, 100);
    let curves = simulate(&trace, &plan("fifo,opt", "1%,10%", Sampling::Auto), &|_| true).unwrap();
    let names: Vec<String> =
        curves.points.iter().map(|point| format!("{} {}", point.contender, point.size)).collect();
    assert_eq!(names, ["fifo 1%", "fifo 10%", "opt 1%", "opt 10%"]);
    assert_eq!(curves.sample, None);
}

#[test]
fn lru_in_one_pass_is_lru_size_by_size() {
    let trace = skewed(20_000, 2_000);
    let many = plan("lru", "1,10,1%,100,20%,1000,3000", Sampling::Off);
    assert_eq!(many.jobs(&trace).len(), 1);
    let at_once = simulate(&trace, &many, &|_| true).unwrap().points;
    for point in at_once {
        let one = Plan { sizes: vec![point.size.clone()], ..many.clone() };
        assert_eq!(simulate(&trace, &one, &|_| true).unwrap().points, [point]);
    }
}

#[test]
fn a_cache_larger_than_the_keyspace_misses_each_key_once() {
    let trace = skewed(5_000, 300);
    let plan =
        Plan { sizes: vec![Size::items(1 << 40), Size::bytes(1 << 40)], ..Plan::all(&trace) };
    for point in simulate(&trace, &plan, &|_| true).unwrap().points {
        assert_eq!(point.tally.hits.count, 5_000 - trace.keys_len() as u64, "{}", point.contender);
    }
}

/// By bytes the optimum is a rule of thumb, so only the sizes in values are compared.
#[test]
fn no_policy_is_above_the_optimum() {
    let trace = skewed(30_000, 3_000);
    let plan = Plan { sizes: vec![Size::items(30), Size::items(300)], ..Plan::all(&trace) };
    let points = simulate(&trace, &plan, &|_| true).unwrap().points;
    let optimum = &points[points.len() - 2..];
    for (point, optimum) in points.chunks(2).flat_map(|of_policy| of_policy.iter().zip(optimum)) {
        assert!(point.tally.hits.count <= optimum.tally.hits.count, "{}", point.contender);
    }
}

#[test]
fn a_sample_says_what_the_whole_does_and_how_far_off_it_may_be() {
    let trace = skewed(400_000, 40_000);
    let of = |sampling| {
        let plan = plan("lru,s3-fifo,fifo,opt", "1%,5%,20%,200KiB", sampling);
        simulate(&trace, &plan, &|_| true).unwrap()
    };
    let (whole, part) = (of(Sampling::Off), of(Sampling::Rate(0.2)));
    let sample = part.sample.unwrap();
    assert_eq!((whole.sample, sample.rate), (None, 0.2));
    assert!(sample.error_max < 0.03, "{sample:?}");
    for (whole, part) in whole.points.iter().zip(&part.points) {
        assert_eq!(part.tally.requests.count, 400_000);
        for weight in [Weight::Count, Weight::Bytes, Weight::Cost] {
            let (whole, estimate) = (whole.tally.hit_ratio(weight), part.tally.hit_ratio(weight));
            assert!(
                (whole - estimate).abs() < 0.03,
                "{} {}: {whole} {estimate}",
                part.contender,
                part.size
            );
        }
    }
}

#[test]
fn a_long_replay_is_of_a_sample_unless_it_is_asked_for() {
    let trace = skewed(200_000, 20_000);
    let size: Size = "1%".parse().unwrap();
    let long = Plan {
        contenders: vec![Contender::Optimum],
        sizes: vec![size; 1 << 17],
        sampling: Sampling::Auto,
    };
    let rate = long.rate(&trace);
    assert!(rate < 0.9 && rate * trace.keys_len() as f64 >= 8_191.0, "{rate}");
    assert_eq!(Plan { sampling: Sampling::Off, ..long }.rate(&trace), 1.0);
}

#[test]
fn a_simulation_that_is_stopped_says_so_and_what_cannot_be_is_refused() {
    let trace = skewed(1_000, 100);
    let plan = |sizes, sampling| plan("lru", sizes, sampling);
    let stopped = simulate(&trace, &plan("1%", Sampling::Off), &|_| false).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Closed);
    for rate in [0.0, -1.0, 1.5, f64::NAN] {
        let error = simulate(&trace, &plan("1%", Sampling::Rate(rate)), &|_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let error = simulate(&trace, &plan("1%", Sampling::Rate(1e-9)), &|_| true).unwrap_err();
    assert!(error.to_string().contains("none of"), "{error}");
}

#[test]
fn a_trace_that_is_a_sample_is_told_as_one_with_its_own_error() {
    let whole = skewed(200_000, 20_000);
    let mut builder = TraceBuilder::new(whole.columns(), usize::MAX).recorded_at(0.5);
    whole
        .requests()
        .filter(|(_, read)| read.hash % 2 == 0)
        .for_each(|(_, read)| builder.push(read));
    let half = builder.finish().unwrap();
    let plan = plan("lru", "5%,20%", Sampling::Off);
    let (of_whole, of_half) =
        (simulate(&whole, &plan, &|_| true).unwrap(), simulate(&half, &plan, &|_| true).unwrap());
    let sample = of_half.sample.unwrap();
    assert!(sample.rate == 0.5 && sample.error_max > 0.0, "{sample:?}");
    for (whole, half) in of_whole.points.iter().zip(&of_half.points) {
        let ratio = |point: &Point| point.tally.hit_ratio(Weight::Count);
        assert!((ratio(whole) - ratio(half)).abs() < 0.05, "{} {}", ratio(whole), ratio(half));
        let capacities = (whole.capacity as f64, half.capacity as f64);
        assert!((capacities.0 / capacities.1 - 1.0).abs() < 0.05, "{capacities:?}");
    }
}
