fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().unwrap().parse().unwrap();
    let n: u64 = args.next().unwrap().parse().unwrap();
    let d = args.next().and_then(|d| cache_sim::Defect::named(&d));
    let t = std::time::Instant::now();
    let mut bad = 0;
    let mut ops = 0;
    for seed in from..from + n {
        let r = cache_sim::run(seed, d, cache_sim::Trace::Off);
        ops += r.operations;
        if let Some(w) = r.wrong {
            bad += 1;
            println!("seed {seed}: {w}");
            if n == 1 {
                let r = cache_sim::run(seed, d, cache_sim::Trace::Kept);
                println!("{}\n{}", r.plan, r.trace);
            }
        }
    }
    println!("{bad} bad of {n}, {ops} operations, {:?}", t.elapsed());
}
