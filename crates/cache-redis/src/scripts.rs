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

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            let code = concat!(include_str!("scripts/common.lua"), include_str!($file));
            Script { code, sha1: redis::Script::new(code).get_hash().to_owned() }
        })
    };
}

/// Makes control keys that are missing.
pub(crate) static OPEN: LazyLock<Script> = script!("scripts/open.lua");
/// Carries out puts and removals.
pub(crate) static WRITE: LazyLock<Script> = script!("scripts/write.lua");
/// Clears a namespace.
pub(crate) static CLEAR: LazyLock<Script> = script!("scripts/clear.lua");
/// Gives back the space of a cleared namespace.
pub(crate) static SWEEP: LazyLock<Script> = script!("scripts/sweep.lua");

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
