//! What the server says about itself: for an operator, not for the cache's own work.

use std::collections::HashMap;

use bb8_redis::redis;
use cache_core::Result;
use serde::Serialize;

use crate::{
    error::{Access, expect},
    tier::RedisTier,
};

/// How a Redis server is set up and how it is, from [`RedisTier::inspect`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RedisReport {
    /// The server's version, such as `7.0.15`; empty when it does not tell.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// What happens when the memory is full: `maxmemory-policy`.
    pub policy: String,
    /// Memory in use, in bytes.
    pub used_bytes: Option<u64>,
    /// The limit on it, in bytes; nothing when there is none.
    pub maxmemory_bytes: Option<u64>,
    /// Whether it writes an append-only file.
    pub aof: bool,
    /// Whether it writes snapshots; nothing when the user of the address may not ask.
    pub rdb: Option<bool>,
    /// Connections that are open.
    pub clients: Option<u64>,
    /// Connections that may be.
    pub clients_max: Option<u64>,
    /// For how long the server has been up, in seconds.
    pub uptime_s: Option<u64>,
}

impl RedisTier {
    /// Asks the server how it is set up.
    ///
    /// # Errors
    ///
    /// Those of any call: that it cannot be reached, or does not let this user ask.
    ///
    /// # Cancel safety
    ///
    /// A dropped future changes nothing.
    pub async fn inspect(&self) -> Result<RedisReport> {
        let info: String = expect(self.server.query(&redis::cmd("INFO"), Access::Read).await?)?;
        let mut report = read(&info);
        // The right to read the configuration is not among those that a tier needs.
        let command = redis::cmd("CONFIG").arg("GET").arg("save").arg("maxclients").take();
        if let Ok(answer) = self.server.query(&command, Access::Read).await {
            let settings: HashMap<String, String> = expect(answer)?;
            report.rdb = settings.get("save").map(|save| !save.is_empty());
            let clients_max = settings.get("maxclients").and_then(|max| max.parse().ok());
            report.clients_max = report.clients_max.or(clients_max);
        }
        Ok(report)
    }
}

/// Reads what INFO answers: lines of `name:value`.
fn read(info: &str) -> RedisReport {
    let fields: HashMap<&str, &str> =
        info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let text = |name| fields.get(name).copied().unwrap_or_default().to_owned();
    let number = |name| fields.get(name).and_then(|number| number.parse::<u64>().ok());
    RedisReport {
        version: text("redis_version"),
        role: text("role"),
        policy: text("maxmemory_policy"),
        used_bytes: number("used_memory"),
        maxmemory_bytes: number("maxmemory").filter(|max| *max > 0),
        aof: number("aof_enabled") == Some(1),
        rdb: None,
        clients: number("connected_clients"),
        clients_max: number("maxclients"),
        uptime_s: number("uptime_in_seconds"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_own_words_become_data() {
        let info = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:42\r\n\r\n# Memory\r\n\
                    used_memory:1024\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n\
                    aof_enabled:1\r\nrole:master\r\nconnected_clients:3\r\n";
        let report = read(info);
        assert_eq!((&*report.version, &*report.role), ("7.0.15", "master"));
        assert_eq!((&*report.policy, report.aof, report.rdb), ("noeviction", true, None));
        assert_eq!((report.used_bytes, report.maxmemory_bytes), (Some(1_024), None));
        assert_eq!(
            (report.clients, report.clients_max, report.uptime_s),
            (Some(3), None, Some(42))
        );
    }

    #[test]
    fn a_server_that_tells_nothing_is_no_error() {
        assert_eq!(read("garbage"), RedisReport::default());
    }
}
