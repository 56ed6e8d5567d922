//! Where settings come from, which one counts, and what is said about a wrong one.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use crate::support::{Home, Run, text};

/// Runs `get` with a configuration file of this content.
fn with_file(content: &str) -> Run {
    let home = Home::new();
    home.write("config/cache-cli/config.toml", content);
    home.run(["get", "a"])
}

/// How long a value is fresh that is put without a time, in milliseconds.
fn fresh_for_ms(home: &Home, put: &[&str], environment: &[(&str, &str)]) -> u64 {
    let mut command = home.command(["put", "a", "1"].iter().chain(put));
    Run::of(command.envs(environment.iter().copied()).output().unwrap()).done();
    home.json(["get", "a"]).1[0]["fresh_for_ms"].as_u64().unwrap()
}

#[test]
fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let home = Home::new();
    let near = |ms: u64, wanted: u64| (wanted - 30_000..=wanted).contains(&ms);
    assert!(near(fresh_for_ms(&home, &[], &[]), 300_000));
    home.write("config/cache-cli/config.toml", "ttl = \"10m\"\n");
    assert!(near(fresh_for_ms(&home, &[], &[]), 600_000));
    assert!(near(fresh_for_ms(&home, &[], &[("CACHE_TTL", "20m")]), 1_200_000));
    assert!(near(fresh_for_ms(&home, &["--ttl", "30m"], &[("CACHE_TTL", "20m")]), 1_800_000));
    let other = home.write("other.toml", "ttl = \"40m\"\n");
    assert!(near(fresh_for_ms(&home, &["--config", text(&other)], &[]), 2_400_000));
    assert!(near(fresh_for_ms(&home, &[], &[("CACHE_CONFIG", text(&other))]), 2_400_000));
}

#[test]
fn the_five_settings_are_checked() {
    with_file("cache_warming_enabled = \"perhaps\"").refused(3, "cache_warming_enabled");
    with_file("cache_warming_interval_seconds = 0").refused(3, "1 to 31622400");
    with_file("cache_eviction_policy = \"mru\"")
        .refused(3, "lru, lfu, lfu-aging, fifo, ttl, s3-fifo");
    with_file("cache_max_tracked_entries = 0").refused(3, "cache_max_tracked_entries");
    with_file("cache_memory_pressure_threshold = 1.5").refused(3, "above 0 and at most 1");
    let good = "cache_warming_enabled = false\ncache_warming_interval_seconds = 60\n\
                cache_eviction_policy = \"lfu\"\ncache_max_tracked_entries = 500\n\
                cache_memory_pressure_threshold = 0.8\n";
    assert_eq!(with_file(good).code, 1, "the key is not there");
}

#[test]
fn an_unknown_setting_is_named_with_its_place() {
    let run = with_file("ttll = \"1s\"").refused(3, "`ttll`");
    assert!(run.err.contains("config.toml") && run.err.contains("max_stale"), "{run:?}");
    with_file("[near]\nbyte_max = \"1MiB\"").refused(3, "`near.byte_max`");
    with_file("[sqlite]\nfile = \"x\"").refused(3, "`sqlite.file`");
    let home = Home::new();
    let mut command = home.command(["get", "a"]);
    let run = Run::of(command.env("CACHE_REDIS__NO_SUCH", "1").output().unwrap());
    run.refused(3, "CACHE_REDIS__NO_SUCH");
}

#[test]
fn the_settings_of_logs_are_read_from_the_file_and_from_the_environment() {
    let file = "[redis]\nurl = \"redis://127.0.0.1:1\"\nlog = \"off\"\nlog_len_max = 5000\n\
                patience = \"30ms\"\n[postgres]\nurl = \"postgres://u@127.0.0.1:1/db\"\nlog = \"off\"\n\
                log_poll = \"20ms\"\nlog_retention = \"2h\"\nlog_len_max = 70000\npatience = \"90ms\"\n";
    with_file(file).refused(4, "127.0.0.1:1");
    with_file("[sqlite]\npath = \"x\"\nlog_poll = \"0ms\"").refused(3, "log_poll");
    with_file("[redis]\nurl = \"redis://h\"\nlog = \"sometimes\"").refused(3, "`redis.log`");
    for (variable, value, fault) in [
        ("CACHE_REDIS__LOG_LEN_MAX", "1", "redis.log_len_max"),
        ("CACHE_REDIS__PATIENCE", "1h", "redis.patience"),
        ("CACHE_REDIS__LOG", "sometimes", "redis.log"),
        ("CACHE_POSTGRES__LOG_POLL", "2h", "log_poll"),
        ("CACHE_POSTGRES__LOG_RETENTION", "0s", "log_retention"),
        ("CACHE_POSTGRES__LOG_LEN_MAX", "0", "log_len_max"),
        ("CACHE_POSTGRES__PATIENCE", "2h", "patience"),
        ("CACHE_SQLITE__LOG_POLL", "0s", "log_poll"),
    ] {
        let home = Home::new();
        let section = variable.trim_start_matches("CACHE_").split("__").next().unwrap();
        let mut command = home.command(["get", "a"]);
        match section {
            "REDIS" => command.env("REDIS_URL", "redis://127.0.0.1:1"),
            "POSTGRES" => command.env("DATABASE_URL", "postgres://u@127.0.0.1:1/db"),
            _ => command.env("CACHE_SQLITE__PATH", "x.sqlite3"),
        };
        let run = Run::of(command.env(variable, value).output().unwrap());
        run.refused(3, fault);
    }
}

#[test]
fn other_variables_with_the_prefix_are_left_alone() {
    let home = Home::new();
    let mut command = home.command(["put", "a", "1"]);
    let others =
        [("CACHE_TEST_LEFT_OUT", "/x"), ("CACHE_ENVIRONMENT_JSON", "{}"), ("CACHE_DIR", "1")];
    Run::of(command.envs(others).output().unwrap()).done();
}

#[test]
fn a_setting_of_another_type_or_without_its_unit_is_named() {
    with_file("ttl = 10").refused(3, "`ttl`");
    let run = with_file("ttl = \"10\"").refused(3, "`ttl`");
    assert!(run.err.contains("250ms"), "{run:?}");
    with_file("[near]\nbytes_max = \"much\"").refused(3, "`near.bytes_max`");
    with_file("[redis]\npool_size = 3").refused(3, "`redis.url` is missing");
    with_file("ttl = \"0s\"").refused(2, "`ttl`");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let home = Home::new();
    let config = |path: &str| home.run(["--config", path, "get", "a"]);
    config("none.toml").refused(3, "none.toml");
    config(text(&home.path(""))).refused(3, "could not read the configuration file");
    home.write("bad.toml", "ttl = \n");
    config("bad.toml").refused(3, "line 1");
    std::fs::write(home.path("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    config("binary.toml").refused(3, "binary.toml");
    std::fs::create_dir_all(home.path("config/cache-cli/config.toml")).unwrap();
    home.run(["get", "a"]).refused(3, "config.toml");
}

#[test]
fn no_password_is_printed_wherever_it_was_written() {
    let secret = "s3cr3t";
    let hidden = |run: &Run| {
        assert!(!run.out.contains(secret) && !run.err.contains(secret), "{run:?}");
    };
    for content in [
        "[redis]\nurl = \"redis://:s3cr3t@127.0.0.1:1\n",
        "[redis]\nurl = [\"redis://:s3cr3t@127.0.0.1:1\"]\n",
        "redis = \"redis://:s3cr3t@127.0.0.1:1\"\n",
        "ttl = \"redis://:s3cr3t@127.0.0.1:1\"\n",
        "cache_eviction_policy = \"redis://:s3cr3t@127.0.0.1:1\"\n",
        "[redis]\nurl = \"redis://:s3cr3t@127.0.0.1:1\"\nno_such = 1\n",
        "[warm]\nsource = \"ftp://u:s3cr3t@h\"\n",
    ] {
        let run = with_file(content);
        assert_eq!(run.code, 3, "{content}: {run:?}");
        hidden(&run);
    }
    let home = Home::new();
    for url in ["redis://u:s3cr3t@127.0.0.1:1", "redis:/u:s3cr3t@127.0.0.1", "s3cr3t"] {
        for command in [&["get", "a"][..], &["doctor"], &["stats", "-vv"]] {
            let run = home.run(["--redis-url", url].iter().chain(command));
            assert!([3, 4].contains(&run.code), "{run:?}");
            hidden(&run);
            let mut by_variable = home.command(command);
            hidden(&Run::of(by_variable.env("REDIS_URL", url).output().unwrap()));
        }
        let mut help = home.command(["--help"]);
        hidden(&Run::of(help.env("REDIS_URL", url).env("DATABASE_URL", url).output().unwrap()));
    }
    for url in
        ["postgres://u:s3cr3t@127.0.0.1:1/db", "postgres:/u:s3cr3t", "host=h password=s3cr3t"]
    {
        for command in [&["get", "a"][..], &["doctor"], &["stats", "-vv"]] {
            let run = home.run(["--database-url", url].iter().chain(command));
            assert!([3, 4].contains(&run.code), "{run:?}");
            hidden(&run);
        }
    }
}

#[test]
fn a_server_that_is_not_there_is_told_with_its_address() {
    let home = Home::new();
    let redis = home.run(["--redis-url", "redis://127.0.0.1:1", "get", "a"]);
    redis.refused(4, "127.0.0.1:1");
    let postgres = home.run(["--database-url", "postgres://u@127.0.0.1:1/db", "get", "a"]);
    postgres.refused(4, "127.0.0.1:1");
    home.run(["--redis-url", "nonsense", "get", "a"]).refused(3, "redis");
}

/// Answers everything as Redis answers a wrong password.
fn refuse_password() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = [0; 4_096];
            while let Ok(len @ 1..) = stream.read(&mut question) {
                // Each command begins with its number of words.
                let commands = question[..len].iter().filter(|byte| **byte == b'*').count();
                let refusals = "-WRONGPASS invalid username-password pair\r\n".repeat(commands);
                let _ = stream.write_all(refusals.as_bytes());
            }
        }
    });
    port
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let home = Home::new();
    let url = format!("redis://u:s3cr3t@127.0.0.1:{}", refuse_password());
    for command in [&["get", "a"][..], &["doctor"]] {
        let run = home.run(["--redis-url", &url].iter().chain(command));
        assert_eq!(run.code, 4, "{run:?}");
        let told = format!("{}{}", run.out, run.err);
        assert!(told.contains("correct user and password") && !told.contains("s3cr3t"), "{run:?}");
    }
}

#[test]
fn the_file_and_a_database_cannot_both_be_the_bottom() {
    let home = Home::new();
    let both = ["--data-file", "x", "--database-url", "postgres://127.0.0.1:1/db", "get", "a"];
    home.run(both).refused(3, "--data-file");
    home.run(["--no-embedded", "get", "a"]).refused(3, "no tier outlives");
    home.run(["--no-embedded", "--data-file", "x", "get", "a"]).refused(2, "--data-file");
    let mut homeless = home.command(["get", "a"]);
    let homeless = homeless.env_remove("HOME").env_remove("XDG_DATA_HOME");
    Run::of(homeless.output().unwrap()).refused(3, "HOME");
}

#[test]
fn an_empty_address_counts_as_none() {
    let home = Home::new();
    let mut command = home.command(["put", "a", "1"]);
    let run = command.env("REDIS_URL", "").env("DATABASE_URL", "").output().unwrap();
    Run::of(run).done();
}
