//! Whether processes that share a tier would hear of one another: its log, and its leases.

use std::time::{Duration, Instant};

use cache_core::{Change, Error, ErrorKind, Leases, Log, Namespace, Result, Tier};

use super::check::Check;

/// How long a sign of life may take to appear in the log that it was appended to.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// How long one read waits. A tier may count a beat shortly after another one as the same, so it is
/// given again after this.
const WAIT: Duration = Duration::from_millis(300);

/// How late a change is heard of at most before it is worth a word.
const LATE: Duration = Duration::from_millis(250);

/// How long the lease lasts if this process ends before it gives it up.
const LEASE: Duration = Duration::from_secs(5);

/// Looks at both. `kept` says how the log is bounded.
pub(super) async fn examine(tier: &dyn Tier, kept: &str) -> [Check; 2] {
    let log = match tier.log() {
        None => no_log(),
        Some(log) => match heard_after(&*log).await {
            Ok(Some(lag)) => heard(lag, kept),
            Ok(None) => Check::fault(
                "log",
                format!("what is appended to it is not read within {HEARD_WITHIN:?}"),
                "look at the server's load; see `cache-cli watch --beats`",
            ),
            Err(error) => failed("log", &error),
        },
    };
    let leases = match tier.leases() {
        None => Check::advice(
            "leases",
            "none: processes load the same key at the same time",
            "add a tier that gives leases, if loads are dear",
        ),
        Some(leases) => match woken_after(&*leases).await {
            Ok(taken) => Check::ok(
                "leases",
                format!("one is taken, and its end is heard of, in {}", micros(taken)),
            ),
            Err(error) => failed("leases", &error),
        },
    };
    [log, leases]
}

fn no_log() -> Check {
    Check::advice(
        "log",
        "off: other processes learn of a change when their copies expire",
        "set the tier's setting `log` to \"on\", here and in every process; or keep `near.ttl` short",
    )
}

fn heard(lag: Duration, kept: &str) -> Check {
    let found = format!("a change is heard of after {}; {kept}", micros(lag));
    if lag > LATE {
        let change = "look at the load of the server, and at the tier's `log_poll` if it has one";
        return Check::advice("log", found, change);
    }
    Check::ok("log", found)
}

/// The error says what to change, the rights of a user included.
fn failed(check: &'static str, error: &Error) -> Check {
    Check::fault(check, error.to_string(), "")
}

/// How long after it was appended a sign of life is read; nothing when it is not in time.
async fn heard_after(log: &dyn Log) -> Result<Option<Duration>> {
    let mut position = log.end().await?;
    let started = Instant::now();
    while started.elapsed() < HEARD_WITHIN {
        let appended = Instant::now();
        log.beat().await?;
        let page = log.read(&position, WAIT).await?;
        if page.notices.iter().any(|notice| notice.change == Change::Beat) {
            return Ok(Some(appended.elapsed()));
        }
        position = page.next;
    }
    Ok(None)
}

/// How long it takes to take a lease, to give it up, and to hear of that.
async fn woken_after(leases: &dyn Leases) -> Result<Duration> {
    let key = Namespace::new("cache-cli")?.reserved("doctor").key("lease")?;
    let started = Instant::now();
    let Some(token) = leases.acquire(&key, LEASE).await? else {
        // Another doctor has it: leases are given, and whoever waits for one hears of its end.
        leases.wait(&key, LEASE).await?;
        return Ok(started.elapsed());
    };
    let (released, waited) =
        tokio::join!(leases.release(&key, token), leases.wait(&key, HEARD_WITHIN));
    released.and(waited)?;
    let taken = started.elapsed();
    if taken >= HEARD_WITHIN {
        let message = format!("the end of a lease is not heard of within {HEARD_WITHIN:?}");
        return Err(Error::new(ErrorKind::Timeout, message).hint("look at the server's load"));
    }
    Ok(taken)
}

fn micros(span: Duration) -> String {
    format!("{} µs", span.as_micros())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::{
        ByteSize, Layer, ManualClock, MemoryTier,
        testkit::{Fault, Faults},
    };

    use super::*;
    use crate::commands::doctor::check::Verdict;

    #[tokio::test]
    async fn a_tier_that_answers_is_ok_and_one_that_refuses_is_a_fault_in_both() {
        let memory = MemoryTier::shared(ByteSize::mib(1), Arc::new(ManualClock::new()));
        let faults = Faults::new();
        let tier = faults.layer().wrap(memory);
        let verdicts = async || examine(&*tier, "all is kept").await.map(|check| check.verdict);
        assert_eq!(verdicts().await, [Verdict::Ok; 2]);
        assert_eq!(verdicts().await, [Verdict::Ok; 2], "the lease was given up");
        faults.always(Fault::Fail(ErrorKind::Denied));
        assert_eq!(verdicts().await, [Verdict::Fault; 2]);
    }

    #[test]
    fn a_log_that_is_off_or_late_is_an_advice() {
        assert_eq!(no_log().verdict, Verdict::Advice);
        assert_eq!(heard(Duration::from_millis(1), "").verdict, Verdict::Ok);
        assert_eq!(heard(Duration::from_millis(400), "").verdict, Verdict::Advice);
    }
}
