//! Whether a server is on this machine: a load test of anything else needs its owner's word.

use std::net::IpAddr;

/// Whether `url` can only lead to this machine: a loopback address, `localhost`, or a socket file.
///
/// What is not understood, or can be read in two ways, is not.
#[must_use]
pub fn is_loopback(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    if matches!(scheme, "unix" | "redis+unix" | "valkey+unix") {
        return true;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    // An `@` behind the authority is probably the end of a password with a `/` or a `?` in it.
    if tail.contains('@') || authority.matches('@').count() > 1 {
        return false;
    }
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').all(|host| is_local(without_port(host))) && has_local_parameters(tail)
}

/// PostgreSQL takes hosts in the query as well.
fn has_local_parameters(tail: &str) -> bool {
    let query = tail.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter_map(|pair| pair.split_once('=')).all(|(name, value)| {
        !name.starts_with("host") || value.split(',').all(|host| is_path(host) || is_local(host))
    })
}

fn is_path(host: &str) -> bool {
    host.starts_with('/') || host.to_ascii_uppercase().starts_with("%2F")
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// No host at all is the client's default, which is this machine.
fn is_local(host: &str) -> bool {
    host.is_empty()
        || host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_known() {
        for url in [
            "redis://127.0.0.1:6379/0",
            "redis://:s3cret@localhost",
            "rediss://[::1]:6379/0?protocol=resp3",
            "redis+unix:///run/redis.sock",
            "postgres://u:p@127.9.9.9:5432/d?sslmode=disable",
            "postgres://u@/d?host=/run/postgresql",
            "postgres://u@localhost:1,127.0.0.1:2/d",
        ] {
            assert!(is_loopback(url), "{url}");
        }
    }

    #[test]
    fn what_is_elsewhere_or_unclear_is_not_taken_for_this_machine() {
        for url in [
            "redis://cache.example:6379",
            "redis://10.0.0.1",
            "redis://localhost.example",
            "redis://localhost@cache.example",
            "redis://u:a/b@cache.example",
            "redis://u:a?b@cache.example",
            "redis://[2001:db8::1]",
            "postgres://u@127.0.0.1,db.example/d",
            "postgres://u@localhost/d?host=db.example",
            "postgres://u@localhost/d?hostaddr=10.0.0.1",
            "host=localhost",
            "",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
