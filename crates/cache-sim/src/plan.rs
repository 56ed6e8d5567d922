//! What one seed stands for: how many nodes, which settings, which faults and how often.
//!
//! Every seed draws a different mixture and leaves most kinds of fault out, because faults that
//! are always there hide each other: a run in which every call may fail hardly ever gets far enough
//! to show what a single late answer does.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{broken::Defect, moment::millis, world::rng_of};

/// How long a tier's call may take, in milliseconds. What is late fails in the node and may still
/// be carried out by the server.
pub const CALL_TIMEOUT_MS: u64 = 40;

/// How long a load may take, in milliseconds.
pub const LOAD_TIMEOUT_MS: u64 = 120;

/// The longest that a server is frozen or a node stands still, in milliseconds: what was sent
/// before may be carried out that much later.
pub const HOLD_MAX_MS: u64 = 400;

/// A log so long that no run finds a gap in it.
const LOG_WITHOUT_GAPS: usize = 10_000;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed that everything else was drawn from.
    pub seed: u64,
    /// A bug that is built in.
    pub defect: Option<Defect>,
    /// Machines, each of which runs one process at a time.
    pub nodes: usize,
    /// Tasks that use the cache, in each process.
    pub clients: usize,
    /// Operations of each of them.
    pub operations: usize,
    /// Keys.
    pub keys: u32,
    /// Shared tiers.
    pub tiers: usize,
    /// The bound on the life of a value in a near tier; nothing: there is no near tier.
    pub near_ttl_ms: Option<u64>,
    /// How long a value is fresh.
    pub fresh_ms: u64,
    /// How long after that it may be served when its load fails.
    pub stale_ms: u64,
    /// Whether values carry the source's version.
    pub versions: bool,
    /// How far the source's replica is behind, at most. Needs versions.
    pub lag_ms: u64,
    /// Whether writers insert the new value now and then, instead of invalidating the old one.
    pub inserts: bool,
    /// Whether writers clear the whole namespace now and then.
    pub clears: bool,
    /// The longest pause between two operations of a client.
    pub think_ms: u64,
    /// The longest way of a call, one way, when nothing is wrong.
    pub way_ms: u64,
    /// The longest load when nothing is wrong.
    pub load_ms: u64,
    /// Calls in a thousand that meet each of the faults of the network.
    pub network: Network,
    /// Loads in a thousand that fail, and that never answer.
    pub source: SourceFaults,
    /// What befalls nodes and servers.
    pub nemesis: Nemesis,
    /// Wrong by how much each node's wall clock is when the run begins, at most.
    pub skew_ms: u64,
    /// Writes to tiers between which a process is killed, at most; nothing: none is.
    pub crash_within: Option<u64>,
    /// Operations in a thousand whose caller goes away before they end.
    pub cancelled: u32,
    /// Whether the shared tiers keep logs, and for how many changes; nothing: nodes hear of nothing.
    pub log_len: Option<usize>,
    /// After which silence the near tier is passed by; nothing: it goes on.
    pub bypass_after_ms: Option<u64>,
    /// The period of the lease that processes take to load; nothing: they take none.
    pub lease_ms: Option<u64>,
    /// Whether the tiers are guarded as they are unless set: by breakers and retries.
    pub guards: bool,
    /// Whether values have tags, by which they are invalidated now and then.
    pub tags: bool,
    /// What clients do most.
    pub mix: Mix,
}

/// What clients do most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mix {
    /// They read, and do everything else now and then.
    #[default]
    Reads,
    /// They copy and warm against each other's writes, of few keys, over two tiers.
    Copies,
}

impl Mix {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Reads, Self::Copies];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Copies => "copies",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.name() == name)
    }
}

/// Calls in a thousand that the network spoils, each in its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network {
    /// The request is lost.
    pub lost_requests: u32,
    /// The answer is lost.
    pub lost_answers: u32,
    /// The connection is refused.
    pub refused: u32,
    /// The request or the answer is late, perhaps beyond the time limit.
    pub slow: u32,
    /// The server stops in the middle of a batch.
    pub halved: u32,
}

/// Loads in a thousand that go wrong, each in its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceFaults {
    /// The load fails.
    pub failing: u32,
    /// The load never ends.
    pub hanging: u32,
}

/// What befalls nodes and servers, and how often.
#[derive(Clone, Debug, Default)]
pub struct Nemesis {
    /// The longest time between two strokes; nothing: there is none.
    pub every_ms: Option<u64>,
    /// Its strokes.
    pub strokes: Vec<Stroke>,
}

/// One kind of thing that befalls nodes and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// A node and a server cannot reach each other, and learn nothing of it.
    Partition,
    /// A node's connections to a server are refused.
    Refusal,
    /// A server is down, with its data kept.
    Down,
    /// A server stands still.
    Freeze,
    /// A server takes no writes.
    ReadOnly,
    /// A server takes no puts.
    Full,
    /// A server restarts with nothing.
    RestartEmpty,
    /// A server restarts with what it had some time ago.
    RestartOld,
    /// A node stands still: nothing leaves it or reaches it, and its clock goes on.
    Pause,
    /// A node's process is killed and started again.
    Kill,
    /// A node's process is shut down and started again.
    Replace,
    /// A node's wall clock steps by up to an hour. Its next process starts with that.
    ClockStep,
    /// The source fails for a while.
    SourceDown,
}

impl Stroke {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Partition,
        Self::Refusal,
        Self::Down,
        Self::Freeze,
        Self::ReadOnly,
        Self::Full,
        Self::RestartEmpty,
        Self::RestartOld,
        Self::Pause,
        Self::Kill,
        Self::Replace,
        Self::ClockStep,
        Self::SourceDown,
    ];
}

impl Plan {
    /// What `seed` stands for.
    #[must_use]
    pub fn of(seed: u64, defect: Option<Defect>) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let rng = &mut rng;
        let versions = rng.random_bool(0.5);
        let lagging = versions && rng.random_bool(0.3);
        let mut plan = Self {
            seed,
            defect,
            nodes: rng.random_range(1..=3),
            clients: rng.random_range(1..=3),
            operations: rng.random_range(10..=40),
            keys: rng.random_range(1..=3),
            tiers: rng.random_range(1..=2),
            near_ttl_ms: rng.random_bool(0.85).then(|| rng.random_range(20..=600)),
            fresh_ms: rng.random_range(50..=1_500),
            stale_ms: if rng.random_bool(0.5) { rng.random_range(50..=800) } else { 0 },
            versions,
            lag_ms: if lagging { rng.random_range(10..=300) } else { 0 },
            inserts: rng.random_bool(0.4),
            clears: rng.random_bool(0.3),
            think_ms: rng.random_range(1..=40),
            way_ms: rng.random_range(0..=4),
            load_ms: rng.random_range(1..=60),
            network: Network::default(),
            source: SourceFaults::default(),
            nemesis: Nemesis::default(),
            skew_ms: 0,
            crash_within: None,
            cancelled: if rng.random_bool(0.3) { rng.random_range(10..=200) } else { 0 },
            log_len: None,
            bypass_after_ms: None,
            lease_ms: None,
            guards: rng.random_bool(0.5),
            tags: rng.random_bool(0.25),
            mix: Mix::Reads,
        };
        plan.draw_faults(rng);
        plan.draw_links_between_nodes(rng);
        plan
    }

    /// The same, with clients that do most what `mix` says.
    #[must_use]
    pub fn with_mix(self, mix: Mix) -> Self {
        match mix {
            Mix::Reads => self,
            // A short pause has a copy meet a write; without near tiers reads are of what is copied.
            Mix::Copies => Self {
                mix,
                tiers: 2,
                clients: 2 + self.clients,
                operations: 2 * self.operations,
                keys: self.keys.min(2),
                near_ttl_ms: self.near_ttl_ms.filter(|_| self.seed.is_multiple_of(2)),
                inserts: true,
                think_ms: self.think_ms.min(6),
                ..self
            },
        }
    }

    /// How nodes hear of each other. A longer life shows whether they do.
    fn draw_links_between_nodes(&mut self, rng: &mut SmallRng) {
        if rng.random_bool(0.3) {
            self.lease_ms = Some(rng.random_range(50..=300));
        }
        if rng.random_bool(0.5) {
            // After a gap a tier is cleared, and forgets versions as after any clear.
            let short = rng.random_bool(0.2) && self.lag_ms == 0;
            self.log_len = Some(if short { rng.random_range(3..=20) } else { LOG_WITHOUT_GAPS });
            self.bypass_after_ms = rng.random_bool(0.4).then(|| rng.random_range(100..=400));
            self.near_ttl_ms = self.near_ttl_ms.map(|_| rng.random_range(200..=10_000));
            self.fresh_ms = rng.random_range(100..=20_000);
            self.think_ms = rng.random_range(1..=100);
        }
    }

    /// Each kind of fault is there in some of the runs only.
    fn draw_faults(&mut self, rng: &mut SmallRng) {
        let mut rate = |share: f64, max: u32| {
            if rng.random_bool(share) { rng.random_range(1..=max) } else { 0 }
        };
        self.network = Network {
            lost_requests: rate(0.25, 60),
            lost_answers: rate(0.25, 60),
            refused: rate(0.25, 80),
            slow: rate(0.4, 150),
            halved: rate(0.1, 60),
        };
        self.source = SourceFaults { failing: rate(0.25, 200), hanging: rate(0.15, 80) };
        if rng.random_bool(0.6) {
            // Few kinds in a run, so that each is seen alone and in pairs.
            let kinds = rng.random_range(1..=4);
            let strokes =
                (0..kinds).map(|_| Stroke::ALL[rng.random_range(0..Stroke::ALL.len())]).collect();
            self.nemesis = Nemesis { every_ms: Some(rng.random_range(50..=500)), strokes };
        }
        if rng.random_bool(0.25) {
            self.skew_ms = if rng.random_bool(0.5) { 3_600_000 } else { rng.random_range(1..=500) };
        }
        if rng.random_bool(0.3) {
            self.crash_within = Some(rng.random_range(1..=60));
        }
        // A tier that forgets versions could not refuse what a lagging replica brings.
        if self.lag_ms > 0 {
            self.nemesis
                .strokes
                .retain(|stroke| !matches!(stroke, Stroke::RestartEmpty | Stroke::RestartOld));
            self.clears = false;
        }
    }

    /// The same without any fault.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self {
            network: Network::default(),
            source: SourceFaults::default(),
            nemesis: Nemesis::default(),
            skew_ms: 0,
            crash_within: None,
            cancelled: 0,
            ..self
        }
    }

    /// What the wall clock of the node `number` is wrong by when the run begins.
    #[must_use]
    pub fn first_offset_ms(&self, number: usize) -> i64 {
        let mut rng = rng_of(self.seed, 50 + number as u64);
        let skew = i64::try_from(self.skew_ms).expect("an hour is small");
        rng.random_range(-skew..=skew)
    }

    /// How long one flight may take: the tiers are asked, what they have is promoted or the source
    /// is asked, and the tiers are filled. Guarded tiers are written to twice, tags are looked up
    /// before and after a load, and whoever takes leases waits and looks again.
    #[must_use]
    pub const fn flight_ms(&self) -> u64 {
        let asks = 2 + if self.guards { 3 } else { 1 } + if self.tags { 6 } else { 0 };
        let once = asks * self.tiers as u64 * CALL_TIMEOUT_MS + LOAD_TIMEOUT_MS + 50;
        match self.lease_ms {
            Some(period) => 2 * once + period,
            None => once,
        }
    }

    /// Whether nothing goes wrong in this run but what the source does.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        let Network { lost_requests, lost_answers, refused, slow, halved } = self.network;
        lost_requests + lost_answers + refused + slow + halved == 0
            && self.nemesis.every_ms.is_none()
            && self.crash_within.is_none()
    }

    /// Whether servers lose what they were told.
    #[must_use]
    pub fn loses_data(&self) -> bool {
        let loses = |stroke: &Stroke| matches!(stroke, Stroke::RestartEmpty | Stroke::RestartOld);
        self.nemesis.strokes.iter().any(loses)
    }

    /// How long any call of a cache may take.
    #[must_use]
    pub const fn call_ms(&self) -> u64 {
        3 * self.flight_ms()
    }

    /// How long a server remembers that a key has moved.
    #[must_use]
    pub const fn retention(&self) -> Duration {
        millis(self.flight_ms() + HOLD_MAX_MS + 200)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} nodes of {} clients, {} operations each, on {} keys; {} shared tiers",
            self.nodes, self.clients, self.operations, self.keys, self.tiers
        )?;
        match self.near_ttl_ms {
            Some(near_ttl) => write!(f, "near tier up to {near_ttl} ms, ")?,
            None => write!(f, "no near tier, ")?,
        }
        write!(f, "fresh for {} ms, then stale for {} ms", self.fresh_ms, self.stale_ms)?;
        let versions = if self.versions { "with" } else { "without" };
        writeln!(f, "; values {versions} versions, replica up to {} ms behind", self.lag_ms)?;
        writeln!(
            f,
            "log of {:?} changes, near tier passed by after {:?} ms of silence, leases of {:?} ms, \
             guards: {}, tags: {}",
            self.log_len, self.bypass_after_ms, self.lease_ms, self.guards, self.tags
        )?;
        writeln!(f, "network, of 1,000 calls: {:?}", self.network)?;
        writeln!(f, "source, of 1,000 loads: {:?}", self.source)?;
        writeln!(f, "nemesis: {:?}", self.nemesis)?;
        write!(f, "clocks wrong by up to {} ms", self.skew_ms)?;
        if let Some(within) = self.crash_within {
            write!(f, "; processes killed within {within} writes")?;
        }
        if self.mix == Mix::Copies {
            write!(f, "; clients copy and warm most")?;
        }
        if let Some(defect) = self.defect {
            write!(f, "; built with the defect {defect}")?;
        }
        Ok(())
    }
}
