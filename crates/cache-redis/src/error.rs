//! From faults of Redis and of the way there to errors that say what to do.

use std::{error::Error as StdError, fmt, io, sync::Arc};

use bb8_redis::redis::{
    self, FromRedisValue, RedisError, ServerErrorKind, Value, from_redis_value,
};
use cache_core::{Error, ErrorKind, Result, ServerUrl, Span};

/// What the tier asks of Redis, for those who write access rules.
const COMMANDS: &str = "+mget +get +getrange +set +unlink +pttl +evalsha +script|load +scan +info \
                        +ping +hello +auth +select +xadd +xread +publish +subscribe";

/// Whether a request changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Why there is no answer, or none that is welcome.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The tier was closed.
    Closed,
    /// No connection came about in its time. Maybe an attempt failed meanwhile.
    NoConnection(Option<RedisError>),
    /// An attempt to connect failed.
    Connect(RedisError),
    /// The request was sent, perhaps, and its answer was lost or an error.
    Answer(RedisError),
}

/// What an explanation names.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) url: ServerUrl,
    pub(crate) connect_timeout: Span,
    pub(crate) response_timeout: Span,
}

impl Address {
    /// The error of an address that cannot be used.
    pub(crate) fn unusable(&self, cause: &RedisError) -> Error {
        let text = cause.to_string();
        // What follows is redis-rs's word for the kind of error.
        let fault = match text.split_once(" - ") {
            _ if cfg!(not(feature = "tls")) && is_tls(&self.url) => {
                "this program was built without TLS"
            }
            Some((fault, _)) => fault,
            None => &text,
        };
        let message = format!("cannot use `redis.url` = {}: {fault}", self.url);
        Error::new(ErrorKind::Config, message).hint(
            "write redis://[user:password@]host[:port][/database], rediss:// for TLS (feature \
             `tls` of cache-redis) or redis+unix:///path, and percent-encode special characters \
             in the password",
        )
    }

    /// What became of a request of this `access`.
    pub(crate) fn explain(&self, fault: &Fault, access: Access) -> Error {
        match fault {
            Fault::Closed => Error::new(ErrorKind::Closed, "the Redis tier has been closed")
                .hint("make a new one"),
            Fault::NoConnection(cause) => self.no_connection(cause.as_ref()),
            Fault::Connect(cause) if cause.is_timeout() => self.no_connection(None),
            Fault::Connect(cause) => self.unreached(cause),
            Fault::Answer(cause) => self.answered(cause, access),
        }
    }

    fn no_connection(&self, cause: Option<&RedisError>) -> Error {
        let text = cause.map(|cause| format!(": {}", text(cause))).unwrap_or_default();
        let message =
            format!("no connection to Redis at {} within {}{text}", self.url, self.connect_timeout);
        let tls = if is_tls(&self.url) { ", whether the server speaks TLS there" } else { "" };
        Error::new(ErrorKind::Unavailable, message).hint(format!(
            "check `redis.url`{tls}, the server and the way there, or raise `redis.connect_timeout`"
        ))
    }

    fn unreached(&self, cause: &RedisError) -> Error {
        if let Some(error) = self.by_reply(cause) {
            return error;
        }
        let message = format!("could not connect to Redis at {}: {}", self.url, text(cause));
        let (kind, hint) = match cause.kind() {
            redis::ErrorKind::Io if is_bad_tls(cause) => (
                ErrorKind::Config,
                "check that the server speaks TLS there and that its certificate is for this host \
                 name, and name the authority that signed it in `redis.ca_file`",
            ),
            redis::ErrorKind::Io if cause.is_connection_refusal() => {
                (ErrorKind::Unavailable, "start the server, or correct `redis.url`")
            }
            redis::ErrorKind::Io => (
                ErrorKind::Unavailable,
                "check `redis.url` and the server's log; one that has too many clients \
                 (maxclients) or wants TLS (rediss://) hangs up as well",
            ),
            redis::ErrorKind::InvalidClientConfig => (ErrorKind::Config, "correct `redis.url`"),
            redis::ErrorKind::Parse => {
                (ErrorKind::Config, "what answers there is not Redis: correct `redis.url`")
            }
            _ => (ErrorKind::Unavailable, "check the server and `redis.url`"),
        };
        Error::new(kind, message).hint(hint).caused_by(Cause(text(cause)))
    }

    fn answered(&self, cause: &RedisError, access: Access) -> Error {
        if let Some(error) = self.by_reply(cause) {
            // A permission may be missing in the middle of a script. Everything else is refused
            // before anything is done.
            let partial = error.kind() == ErrorKind::Denied && access == Access::Write;
            return if partial { error.indeterminate() } else { error };
        }
        let error = if cause.is_timeout() {
            let message =
                format!("Redis at {} gave no answer in {}", self.url, self.response_timeout);
            Error::new(ErrorKind::Timeout, message)
                .hint("look at the server's load and slow log, or raise `redis.response_timeout`")
        } else if cause.is_io_error() {
            let message = format!("lost the connection to Redis at {}: {}", self.url, text(cause));
            Error::new(ErrorKind::Unavailable, message)
                .hint("the next call connects again; see the server's log if it goes on")
        } else {
            let message = format!("an unexpected answer of Redis at {}: {}", self.url, text(cause));
            Error::new(ErrorKind::Internal, message)
        };
        match access {
            Access::Read => error,
            Access::Write => error.indeterminate(),
        }
        .caused_by(Cause(text(cause)))
    }

    /// The error of what Redis replied: it has understood the request and not carried it out.
    fn by_reply(&self, cause: &RedisError) -> Option<Error> {
        let (kind, hint) = judge_reply(cause)?;
        let message = format!("Redis at {} refused: {}", self.url, text(cause));
        Some(Error::new(kind, message).hint(hint))
    }
}

/// What a reply of the server means. Nothing when it was no reply, or is not known.
fn judge_reply(cause: &RedisError) -> Option<(ErrorKind, String)> {
    use ServerErrorKind as Reply;
    let code = cause.code().unwrap_or_default();
    let detail = cause.detail().unwrap_or_default();
    // Before version 7 the error of a command in a script comes wrapped in one of the script.
    let is = |wanted: &str| code == wanted || detail.contains(&format!("-{wanted} "));
    let verdict = if cause.kind() == redis::ErrorKind::AuthenticationFailed
        || is("WRONGPASS")
        || is("NOAUTH")
    {
        (ErrorKind::Denied, "correct user and password in `redis.url`".to_owned())
    } else if is("NOPERM") || detail.starts_with("The user executing the script can't") {
        let hint = format!(
            "allow the user of `redis.url`: {COMMANDS} on the keys and channels of \
                     `redis.prefix` (~redis.prefix:* &redis.prefix:*)"
        );
        (ErrorKind::Denied, hint)
    } else if is("OOM") || detail.contains("OOM command not allowed") {
        let hint = "raise maxmemory, or set maxmemory-policy to allkeys-lru so that the least \
                    used entries make room";
        (ErrorKind::Full, hint.to_owned())
    } else if is("READONLY") {
        (ErrorKind::ReadOnly, "point `redis.url` to the primary, not to a replica".to_owned())
    } else if is("MISCONF") || is("NOREPLICAS") {
        let hint = "the server refuses writes until it can persist or replicate them again: see \
                    its log, or switch that off for a cache";
        (ErrorKind::ReadOnly, hint.to_owned())
    } else if detail.contains("max number of clients") {
        (ErrorKind::Unavailable, "raise maxclients, or lower `redis.pool_size`".to_owned())
    } else if detail.contains("DB index is out of range") {
        (ErrorKind::Config, "correct the database number in `redis.url`".to_owned())
    } else if detail.starts_with("unknown command") {
        (
            ErrorKind::Incompatible,
            format!("use Redis 5 or later (4 with `redis.log` off), and allow {COMMANDS}"),
        )
    } else if is("BUSY") {
        (ErrorKind::Unavailable, "a script holds up the server: see SCRIPT KILL".to_owned())
    } else {
        match cause.kind() {
            redis::ErrorKind::Server(
                Reply::BusyLoading | Reply::MasterDown | Reply::ClusterDown | Reply::TryAgain,
            ) => (ErrorKind::Unavailable, "wait until the server is ready".to_owned()),
            redis::ErrorKind::Server(Reply::NoScript) => {
                (ErrorKind::Unavailable, "something keeps removing scripts from it".to_owned())
            }
            redis::ErrorKind::Server(Reply::Moved | Reply::Ask | Reply::CrossSlot) => {
                let hint = "this is a node of a cluster: point `redis.url` to a single server, or \
                            to a proxy for the cluster";
                (ErrorKind::Incompatible, hint.to_owned())
            }
            redis::ErrorKind::RESP3NotSupported => {
                (ErrorKind::Incompatible, "leave `protocol` out of `redis.url`".to_owned())
            }
            _ => return None,
        }
    };
    Some(verdict)
}

/// Takes an answer in the form that its command always gives.
pub(crate) fn expect<T: FromRedisValue>(answer: Value) -> Result<T> {
    from_redis_value(answer).map_err(|cause| {
        Error::new(ErrorKind::Internal, "Redis gave an answer of another form").caused_by(cause)
    })
}

/// What an error of redis-rs says, without the arguments of a command: of one that it does not
/// know Redis repeats them, and a password may be among them.
pub(crate) fn text(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    text.split(", with args").next().unwrap_or_default().trim_end().to_owned()
}

/// Whether rustls refused what it was sent.
fn is_bad_tls(error: &RedisError) -> bool {
    let cause = StdError::source(error);
    // redis-rs shares the errors of the system that it wraps.
    let shared = cause.and_then(|cause| cause.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let io = shared.and_then(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData)
}

fn is_tls(url: &ServerUrl) -> bool {
    ["rediss://", "valkeys://"].iter().any(|scheme| url.expose().starts_with(scheme))
}

/// A cause as it may be printed.
#[derive(Debug)]
struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Cause {}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address {
            url: ServerUrl::new("redis://cache:s3cret@h"),
            connect_timeout: Span::millis(1),
            response_timeout: Span::millis(2),
        }
    }

    /// What redis-rs makes of a line that the server sent.
    fn reply(line: &str) -> RedisError {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        reply.and_then(Value::extract_error).unwrap_err()
    }

    #[test]
    fn what_the_server_refused_has_its_kind_and_a_hint() {
        use ErrorKind::{Config, Denied, Full, Incompatible, ReadOnly, Unavailable};
        for (line, kind, hint) in [
            ("NOAUTH Authentication required.", Denied, "redis.url"),
            ("WRONGPASS invalid username-password pair", Denied, "redis.url"),
            ("NOPERM User cache has no permissions to run the 'mget' command", Denied, "+mget"),
            ("OOM command not allowed when used memory > 'maxmemory'.", Full, "maxmemory-policy"),
            // As Redis 6 wraps it.
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM \
                 command not allowed when used memory > 'maxmemory'.",
                Full,
                "maxmemory-policy",
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 9b2, on @user_script:4.",
                Full,
                "maxmemory-policy",
            ),
            ("READONLY You can't write against a read only replica.", ReadOnly, "primary"),
            // As Redis 7 says it of a script, and as Redis 6 wraps it.
            (
                "READONLY You can't write against a read only replica. script: 9b2, on \
                 @user_script:4.",
                ReadOnly,
                "primary",
            ),
            (
                "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: \
                 -READONLY You can't write against a read only replica.",
                ReadOnly,
                "primary",
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
                 persist to disk. Commands that may modify the data set are disabled.",
                ReadOnly,
                "persist",
            ),
            (
                "MISCONF Errors writing to the AOF file: No space left on device",
                ReadOnly,
                "persist",
            ),
            ("NOREPLICAS Not enough good replicas to write.", ReadOnly, "persist"),
            ("LOADING Redis is loading the dataset in memory", Unavailable, "wait"),
            (
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
                Unavailable,
                "wait",
            ),
            (
                "NOPERM this user has no permissions to access the 'cache:~leases' channel",
                Denied,
                "&redis.prefix:*",
            ),
            ("CLUSTERDOWN Hash slot not served", Unavailable, "wait"),
            ("BUSY Redis is busy running a script.", Unavailable, "SCRIPT KILL"),
            ("NOSCRIPT No matching script.", Unavailable, "scripts"),
            ("ERR max number of clients reached", Unavailable, "maxclients"),
            ("MOVED 3999 127.0.0.1:6381", Incompatible, "cluster"),
            ("CROSSSLOT Keys in request don't hash to the same slot", Incompatible, "cluster"),
            ("ERR unknown command 'EVALSHA'", Incompatible, "Redis 5"),
            ("ERR DB index is out of range", Config, "database"),
        ] {
            let error = address().explain(&Fault::Answer(reply(line)), Access::Read);
            assert_eq!(error.kind(), kind, "{line}");
            let text = error.to_string();
            assert!(text.contains(hint) && text.contains("redis://cache:***@h"), "{text}");
        }
    }

    #[test]
    fn only_what_may_have_been_carried_out_says_so() {
        let lost = || RedisError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        let silent = || RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        for (fault, access, expected) in [
            (Fault::Answer(lost()), Access::Write, true),
            (Fault::Answer(silent()), Access::Write, true),
            (Fault::Answer(reply("ERR what?")), Access::Write, true),
            (Fault::Answer(reply("NOPERM of a command in a script")), Access::Write, true),
            (Fault::Answer(lost()), Access::Read, false),
            (Fault::Answer(silent()), Access::Read, false),
            (Fault::Answer(reply("OOM full")), Access::Write, false),
            (Fault::Answer(reply("READONLY replica")), Access::Write, false),
            (Fault::Connect(lost()), Access::Write, false),
            (Fault::Connect(silent()), Access::Write, false),
            (Fault::NoConnection(None), Access::Write, false),
            (Fault::Closed, Access::Write, false),
        ] {
            let shown = format!("{fault:?} {access:?}");
            assert_eq!(address().explain(&fault, access).may_have_happened(), expected, "{shown}");
        }
    }

    #[test]
    fn the_arguments_of_a_command_are_not_repeated() {
        let error = reply("ERR unknown command 'HELLO', with args beginning with: 'AUTH' 's3cret'");
        for fault in [Fault::Connect(error.clone()), Fault::Answer(error)] {
            let error = address().explain(&fault, Access::Write);
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
