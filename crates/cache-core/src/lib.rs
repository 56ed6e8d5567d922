//! Traits, entries, stack and typed front of a tiered cache.

mod access_log;
mod audit;
mod bus;
mod cache;
mod clock;
mod codec;
mod engine;
mod entry;
mod error;
mod event;
mod eviction;
mod fence;
mod fence_table;
mod gather;
mod key;
mod layers;
mod lease;
mod live_curve;
mod load_limit;
mod memory;
mod pressure;
mod priority;
mod read_notes;
mod read_tap;
mod stack;
mod stats;
mod sync;
mod tags;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tier;
mod ttl_rule;
mod units;
pub mod wire;

pub use access_log::{
    AccessLog, AccessLogConfig, AccessLogReader, AccessLogStats, AccessOutcome, AccessRecord,
    KeyForm, LogEnd, Recording, RecordingSwitch, is_access_log,
};
pub use audit::{
    AuditConfig, AuditReport, AuditStats, Auditing, Auditor, Finding, FindingKind, Held,
};
pub use bus::{Author, Change, Log, MemoryLog, Notice, Page, Position};
pub use cache::{
    Builder, Cache, FLIGHTS_MAX, Freshness, Hit, Item, LoadError, Loaded, NearEngine, Origin,
    Policy, Previous, Read, ReadWatch, Reply, Session, SourceError, WatchedReads, WhenCut,
};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
#[cfg(feature = "postcard")]
pub use codec::Postcard;
pub use codec::{Codec, Json, Raw};
pub use engine::EvictionCounts;
pub use entry::{BATCH_LEN_MAX, CodecId, Entry, PAYLOAD_LEN_MAX, TTL_MAX, Ttl, Version};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, Events};
pub use eviction::{Eviction, EvictionPolicy, Ranking, ReadCounts, Reads, Replay, Resident, Slot};
pub use fence::Fence;
pub use gather::{Carry, Gather, Limits};
pub use key::{KEY_LEN_MAX, Key, NAMESPACE_LEN_MAX, Namespace};
pub use layers::{
    Breaker, BreakerConfig, BreakerState, CallLimit, Guard, Guarded, Layer, Observed, RetryConfig,
    breaker, guard, limit, patience, retry, timeout,
};
#[cfg(feature = "compression")]
pub use layers::{Compression, CompressionAlgorithm, compress};
pub use lease::{LeaseToken, Leases, MemoryLeases};
pub use live_curve::{CurvePoint, CurveStats, LiveCurve};
pub use load_limit::{LoadLimit, LoadLimitConfig, LoadLimitStats, LoadPermit, Priority};
pub use memory::MemoryTier;
pub use pressure::{
    MemoryPressure, Misfit, Pressure, PressureConfig, PressureGauge, PressureStats, ProcessMemory,
    Shrink, TierRoom,
};
pub use priority::EvictionPriority;
pub use read_notes::{ReadNote, ReadNotes};
pub use read_tap::{ReadTap, TappedRead};
pub use stack::{Copied, Found, Promotion, Stack};
pub use stats::{
    CacheStats, LatencyHistogram, LatencySummary, OperationStats, Table, TierStats, prometheus,
};
pub use tags::{TAG_LEN_MAX, TAGS_MAX, TagMark, TagQuery, Tags, generation_key, horizon_key};
pub use tier::{
    Condition, Durability, Evictions, Lookup, Put, PutOutcome, Removal, Scope, Tier, TierExt,
    TierInfo, Usage, check_batch,
};
pub use ttl_rule::{AdaptiveTtl, AdaptiveTtlStats, LoadSeen, TtlRule};
pub use units::{ByteSize, ServerUrl, Span};
