//! The memory tier, an `Arc` of a tier, each layer and the stack against the conformance suite.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{
    BreakerConfig, ByteSize, CallLimit, Clock, Compression, Events, Guard, Key, Layer, ManualClock,
    MemoryTier, Observed, Position, RetryConfig, Stack, Tier, breaker, compress, guard, limit,
    patience, retry,
    testkit::{Faults, Harness, LogHarness},
    timeout,
};

/// A tier of this process, which every handle shares.
struct InProcess {
    clock: ManualClock,
    tier: Arc<dyn Tier>,
}

impl InProcess {
    fn new(make: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn Tier>) -> Self {
        let clock = ManualClock::new();
        let tier = make(Arc::new(clock.clone()));
        Self { clock, tier }
    }
}

#[async_trait]
impl Harness for InProcess {
    async fn open(&self) -> Arc<dyn Tier> {
        Arc::clone(&self.tier)
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }

    async fn plant(&self, _key: &Key, _bytes: &[u8]) -> bool {
        false
    }
}

fn memory(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
    Arc::new(MemoryTier::new(ByteSize::mib(64), clock))
}

mod memory_tier {
    use super::*;

    cache_core::conformance_tests!(MemoryTier, Some(InProcess::new(memory)));
    cache_core::lease_conformance_tests!(MemoryTier, Some(InProcess::new(memory)));
}

mod memory_log {
    use super::*;

    /// A memory tier whose log can be made to forget, as it is or within a layer.
    pub(super) struct WithLog {
        place: InProcess,
        memory: Arc<MemoryTier>,
    }

    impl WithLog {
        fn new() -> Self {
            Self::within(&|memory| memory)
        }

        pub(super) fn within(layer: &dyn Layer) -> Self {
            let clock = ManualClock::new();
            let memory = MemoryTier::shared(ByteSize::mib(64), Arc::new(clock.clone()));
            Self { place: InProcess { clock, tier: layer.wrap(memory.clone()) }, memory }
        }
    }

    #[async_trait]
    impl Harness for WithLog {
        async fn open(&self) -> Arc<dyn Tier> {
            self.place.open().await
        }

        fn clock(&self) -> &ManualClock {
            self.place.clock()
        }

        async fn plant(&self, key: &Key, bytes: &[u8]) -> bool {
            self.place.plant(key, bytes).await
        }
    }

    #[async_trait]
    impl LogHarness for WithLog {
        async fn trim(&self, position: &Position) -> bool {
            self.memory.memory_log().trim(position);
            true
        }

        async fn lose(&self) -> bool {
            self.memory.memory_log().lose();
            true
        }
    }

    cache_core::log_conformance_tests!(MemoryTier, Some(WithLog::new()));
}

mod arc {
    use super::*;

    fn doubly_shared(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        Arc::new(memory(clock))
    }

    cache_core::conformance_tests!(Arc, Some(InProcess::new(doubly_shared)));
}

mod timeout_layer {
    use super::*;

    fn limited(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        timeout(Duration::from_secs(60)).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Timeout, Some(InProcess::new(limited)));
}

mod patience_layer {
    use super::*;

    fn watched(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        patience(Duration::from_secs(60)).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Patient, Some(InProcess::new(watched)));
}

mod breaker_layer {
    use super::*;

    fn broken_off(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        breaker(BreakerConfig::default(), Events::new()).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Breaker, Some(InProcess::new(broken_off)));
}

mod retry_layer {
    use super::*;

    fn retried(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        retry(RetryConfig { read_tries: 2, ..RetryConfig::default() }).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Retry, Some(InProcess::new(retried)));
}

mod limit_layer {
    use super::*;

    fn limited(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        limit(CallLimit::default()).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Limited, Some(InProcess::new(limited)));
}

mod guard_layer {
    use super::*;

    fn guarded(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        guard(Guard { patience: Some(Duration::from_secs(60)), ..Guard::default() }, Events::new())
            .wrap(memory(clock))
    }

    cache_core::conformance_tests!(Guarded, Some(InProcess::new(guarded)));
    cache_core::lease_conformance_tests!(Guarded, Some(InProcess::new(guarded)));
}

mod compression_layer {
    use super::*;

    /// All that can be compressed is.
    const EAGER: Compression =
        Compression { len_min: ByteSize::bytes(0), saving_min_percent: 0, ..Compression::zstd() };

    fn compressed(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        compress(EAGER).wrap(memory(clock))
    }

    cache_core::conformance_tests!(Compressed, Some(InProcess::new(compressed)));
    cache_core::log_conformance_tests!(
        Compressed,
        Some(memory_log::WithLog::within(&compress(EAGER)))
    );
}

mod observed {
    use super::*;

    fn observed(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        Arc::new(Observed::new(memory(clock)))
    }

    cache_core::conformance_tests!(Observed, Some(InProcess::new(observed)));
}

mod fault_layer {
    use super::*;

    fn healthy(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        Faults::new().layer().wrap(memory(clock))
    }

    cache_core::conformance_tests!(Faulty, Some(InProcess::new(healthy)));
    cache_core::lease_conformance_tests!(Faulty, Some(InProcess::new(healthy)));
    cache_core::log_conformance_tests!(
        Faulty,
        Some(memory_log::WithLog::within(&Faults::new().layer()))
    );
}

mod stack {
    use super::*;

    /// A memory tier under another name: a stack wants its tiers told apart.
    fn stacked(clock: Arc<dyn Clock>) -> Arc<dyn Tier> {
        let tiers = ["upper", "lower"].map(|name| -> Arc<dyn Tier> {
            Arc::new(MemoryTier::new(ByteSize::mib(64), Arc::clone(&clock)).named(name))
        });
        Arc::new(Stack::new(tiers.to_vec(), clock).expect("the names differ"))
    }

    cache_core::conformance_tests!(Stack, Some(InProcess::new(stacked)));
}
