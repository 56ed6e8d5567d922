//! The log of the tier's changes: a stream in Redis.

mod entry;

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bb8_redis::redis::{self, Cmd, Value, aio::MultiplexedConnection};
use cache_core::{Log, Page, Position, Result, Timestamp};
use futures::future::{Either, select};
use parking_lot::Mutex;

pub(crate) use self::entry::write_name;
use self::entry::{Part, Place};
use crate::{
    config::{LogMode, RedisConfig},
    error::{Access, Fault, expect},
    scripts,
    store::Store,
};

/// How many entries a page holds. Each has the changes of one call, which are at most 256.
const PAGE_LEN: usize = 64;
/// How long one read waits at most, whatever its caller wants: the end of a connection that was cut
/// without a word is noticed only then.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How many connections are kept for the next reads. Each reader that waits has one.
const IDLE_MAX: usize = 4;
/// Beats within this time of one another count as one.
const BEAT_EVERY: Duration = Duration::from_millis(200);

/// What the scripts need to know in order to append to the log.
#[derive(Debug)]
pub(crate) struct Scribe {
    len_max: u64,
}

impl Scribe {
    pub(crate) fn new(config: &RedisConfig) -> Self {
        Self { len_max: if config.log == LogMode::On { config.log_len_max } else { 0 } }
    }

    /// Whether what they do is told.
    pub(crate) fn is_on(&self) -> bool {
        self.len_max > 0
    }

    /// Writes the arguments that are the log's.
    pub(crate) fn write_to(&self, call: &mut Cmd, seed: u64, now: Timestamp) {
        call.arg(seed).arg(rand::random_range(1..=u32::MAX)).arg(now.as_millis()).arg(self.len_max);
    }
}

/// The log of one tier.
pub(crate) struct RedisLog {
    store: Arc<Store>,
    /// Connections that no reader has. A read that waits holds up all that is sent after it, so it
    /// never has one of the pool's. Nothing once the tier is closed.
    idle: Mutex<Option<Vec<MultiplexedConnection>>>,
}

impl RedisLog {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Gives up the connections that nobody has.
    pub(crate) fn close(&self) {
        self.idle.lock().take();
    }

    /// Reads on one connection, which is kept when it has answered everything.
    async fn read_on(&self, after: Place, wait: Duration) -> Result<Seen, Fault> {
        let server = &self.store.server;
        let (mut connection, mut seen) = self.begin(after).await?;
        if seen.is_quiet(after) && !wait.is_zero() {
            let wait = wait.clamp(Duration::from_millis(1), WAIT_MAX);
            connection.set_response_timeout(server.response_timeout() + wait);
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(PAGE_LEN).arg("BLOCK").arg(wait_ms);
            self.stream_after(&mut command, after);
            let answer = command.query_async(&mut connection).await.map_err(Fault::Answer)?;
            seen.part = entry::read(&answer, after);
            if seen.is_quiet(after) {
                // A stream that was made anew stays silent to whoever waits for larger ids.
                seen = self.look(&mut connection, after).await?;
            }
        }
        if let Some(idle) = &mut *self.idle.lock()
            && idle.len() < IDLE_MAX
        {
            idle.push(connection);
        }
        Ok(seen)
    }

    /// A connection, and what it shows.
    async fn begin(&self, after: Place) -> Result<(MultiplexedConnection, Seen), Fault> {
        let idle = self.idle.lock().as_mut().and_then(Vec::pop);
        if let Some(mut connection) = idle {
            match self.look(&mut connection, after).await {
                // It was closed while nobody used it, which says nothing about the server now.
                Err(Fault::Answer(error)) if error.is_io_error() && !error.is_timeout() => {}
                looked => return looked.map(|seen| (connection, seen)),
            }
        }
        let mut connection = self.store.server.connect().await?;
        let seen = self.look(&mut connection, after).await?;
        Ok((connection, seen))
    }

    /// Where the log ends, and what it holds after `after`.
    async fn look(
        &self,
        connection: &mut MultiplexedConnection,
        after: Place,
    ) -> Result<Seen, Fault> {
        connection.set_response_timeout(self.store.server.response_timeout());
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(&self.store.layout.log()[1]);
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(PAGE_LEN);
        self.stream_after(&mut read, after);
        pipe.add_command(read);
        // In this order: what is appended in between is read, and never taken for missing.
        let (end, answer): (Value, Value) =
            pipe.query_async(connection).await.map_err(Fault::Answer)?;
        let end = expect::<Option<String>>(end).ok().flatten();
        let end = end.as_deref().and_then(Place::parse_end);
        Ok(Seen { end, part: entry::read(&answer, after) })
    }

    fn stream_after(&self, command: &mut Cmd, after: Place) {
        command.arg("STREAMS").arg(&self.store.layout.log()[0]).arg(after.to_string());
    }

    fn call(&self, script: &scripts::Script, keys: usize) -> Cmd {
        let mut call = script.call(keys);
        call.arg(&self.store.layout.log());
        call
    }

    /// Where to read on for a reader at `after`, behind which nothing is: at the end, or with the
    /// first entry there is when the log is another one than the reader knows.
    async fn place_after_gap(&self, after: Option<Place>) -> Result<Position> {
        // Read first: what is appended from now on follows on it.
        let end = self.end().await?;
        let is_other = match (after, Place::parse(end.as_str())) {
            (Some(after), Some(end)) => end.is_behind(after),
            _ => true,
        };
        if !is_other {
            return Ok(end);
        }
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(1);
        self.stream_after(&mut read, Place::START);
        let answer = self.store.server.query(&read, Access::Read).await?;
        let resume = entry::read(&answer, Place::START).resume;
        Ok(resume.map_or(end, Place::position))
    }
}

#[async_trait]
impl Log for RedisLog {
    fn tier(&self) -> &Arc<str> {
        &self.store.info.name
    }

    async fn end(&self) -> Result<Position> {
        let mut call = self.call(&scripts::LOG_END, 2);
        self.store.sign(&mut call);
        let end: String = expect(scripts::LOG_END.run(&self.store.server, &call).await?)?;
        Ok(Position::new(&end))
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let Some(after) = Place::parse(after.as_str()) else {
            let next = self.place_after_gap(None).await?;
            return Ok(Page { notices: Vec::new(), next, gap: true });
        };
        let server = &self.store.server;
        let reading = pin!(self.read_on(after, wait));
        let read = match select(reading, pin!(server.closing())).await {
            Either::Left((read, _)) => read,
            Either::Right(_) => Err(Fault::Closed),
        };
        let seen = read.map_err(|fault| server.explain(&fault, Access::Read))?;
        let gap = seen.is_gap(after);
        let Part { notices, next, resume, .. } = seen.part;
        let next = match resume {
            Some(resume) if gap => resume.position(),
            None if gap => self.place_after_gap(Some(after)).await?,
            _ => next.position(),
        };
        Ok(Page { notices, next, gap })
    }

    async fn beat(&self) -> Result<()> {
        let mut call = self.call(&scripts::BEAT, 3);
        call.arg(self.store.layout.beat());
        self.store.sign(&mut call);
        call.arg(u64::try_from(BEAT_EVERY.as_millis()).unwrap_or(u64::MAX));
        scripts::BEAT.run(&self.store.server, &call).await?;
        Ok(())
    }
}

impl fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLog").field("server", &self.store.server).finish_non_exhaustive()
    }
}

/// The log at one moment.
struct Seen {
    end: Option<Place>,
    part: Part,
}

impl Seen {
    /// Whether nothing has happened since `after`.
    fn is_quiet(&self, after: Place) -> bool {
        self.part.notices.is_empty() && !self.part.is_cut && self.end == Some(after)
    }

    /// Whether something is missing directly after `after`. What was read before a cut is handed
    /// out first, and the next read begins at the cut.
    fn is_gap(&self, after: Place) -> bool {
        self.part.notices.is_empty() && (self.part.is_cut || self.end != Some(after))
    }
}
