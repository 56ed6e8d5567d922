//! The scripts that run inside Redis, where a look and a write are one step.

use std::sync::LazyLock;

use bb8_redis::redis::{self, Cmd, ErrorKind, ServerErrorKind, Value};
use cache_core::Result;

use crate::{
    connection::Server,
    error::{Access, Fault},
};

/// How often a script is loaded again when it is gone each time it is called.
const LOADS_MAX: usize = 2;

/// One script out of parts, each of which knows those before it.
macro_rules! script {
    ($($part:literal),+) => {
        LazyLock::new(|| {
            let code = concat!($(include_str!(concat!("scripts/", $part, ".lua"))),+);
            Script { code, sha1: redis::Script::new(code).get_hash().to_owned() }
        })
    };
}

/// Makes control keys that are missing.
pub(crate) static OPEN: LazyLock<Script> = script!("common", "open");
/// Carries out puts and removals.
pub(crate) static WRITE: LazyLock<Script> =
    script!("common", "log", "record", "untracked", "write");
/// The same, noting what may be evicted, and evicting.
pub(crate) static WRITE_TRACKED: LazyLock<Script> =
    script!("common", "log", "record", "track", "write");
/// Evicts.
pub(crate) static EVICT: LazyLock<Script> = script!("common", "record", "track", "evict");
/// Moves records that were read.
pub(crate) static READS: LazyLock<Script> = script!("common", "record", "track", "reads");
/// Forgets records that are not there any more.
pub(crate) static TIDY: LazyLock<Script> = script!("common", "record", "track", "tidy");
/// Clears a namespace.
pub(crate) static CLEAR: LazyLock<Script> = script!("common", "log", "clear");
/// Gives up a namespace that has lost data.
pub(crate) static CHECK: LazyLock<Script> = script!("common", "log", "check");
/// Gives back the space of a cleared namespace.
pub(crate) static SWEEP: LazyLock<Script> = script!("common", "sweep");
/// Tells, or settles, where the log ends.
pub(crate) static LOG_END: LazyLock<Script> = script!("common", "log", "log_end");
/// Appends a sign of life to the log.
pub(crate) static BEAT: LazyLock<Script> = script!("common", "log", "beat");
/// Has a lease end later.
pub(crate) static RENEW: LazyLock<Script> = script!("renew");
/// Ends a lease.
pub(crate) static RELEASE: LazyLock<Script> = script!("release");

/// The script by which a program in any language removes a key as this tier does, with a notice in
/// the log: every cache that follows the log then drops its copies. A tier below Redis is not
/// changed by it.
///
/// ```text
/// EVAL SCRIPT 4 PREFIX:~log PREFIX:~log:end PREFIX:NAMESPACE PREFIX:NAMESPACE:TEXT
///      MICROSECONDS RANDOM MILLISECONDS LOG_LEN_MAX RETENTION
/// ```
///
/// | argument | meaning |
/// |----------|---------|
/// | `MICROSECONDS` | the time since 1970 |
/// | `RANDOM` | a random number, 1 to 4294967295 |
/// | `MILLISECONDS` | the time since 1970 |
/// | `LOG_LEN_MAX` | [`log_len_max`](crate::RedisConfig::log_len_max); 0 when the log is off |
/// | `RETENTION` | [`fence_retention`](crate::RedisConfig::fence_retention) in milliseconds |
///
/// It answers 1. Removal and notice are one step. Use it from programs that have no cache of this
/// kind; it needs the access rights that the tier needs.
pub const INVALIDATE_SCRIPT: &str = concat!(
    include_str!("scripts/common.lua"),
    include_str!("scripts/log.lua"),
    include_str!("scripts/record.lua"),
    include_str!("scripts/invalidate.lua"),
);

/// A script, which is sent by its hash.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    sha1: String,
}

impl Script {
    /// The start of a call with `keys` keys. The keys follow, and then the other arguments.
    pub(crate) fn call(&self, keys: usize) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha1).arg(keys);
        call
    }

    /// Makes a `call`, after loading the script if Redis does not have it: at its first use, after
    /// a restart, after SCRIPT FLUSH.
    pub(crate) async fn run(&self, server: &Server, call: &Cmd) -> Result<Value> {
        let mut loads = 0;
        loop {
            match server.send(call).await {
                Err(Fault::Answer(error)) if is_unknown(&error) && loads < LOADS_MAX => {
                    loads += 1;
                    let load = redis::cmd("SCRIPT").arg("LOAD").arg(self.code).take();
                    server.query(&load, Access::Read).await?;
                }
                answer => return answer.map_err(|fault| server.explain(&fault, Access::Write)),
            }
        }
    }
}

fn is_unknown(error: &redis::RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
