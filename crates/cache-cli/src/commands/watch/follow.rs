//! Reading one log for as long as somebody wants its lines.

use std::{sync::Arc, time::Duration};

use cache_core::{Clock, Log, Position};
use tokio::{sync::mpsc, time::sleep};

use super::line::Line;

/// How long one read waits for something to happen.
const WAIT: Duration = Duration::from_secs(5);

/// How long a log is left alone that could not be read.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Sends what `log` tells after `position`, until nobody takes it. A log that cannot be read is
/// told once, and read on from the same place when it can be.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    mut position: Position,
    clock: Arc<dyn Clock>,
    lines: mpsc::Sender<Line>,
) {
    let tier = Arc::clone(log.tier());
    let mut is_cut = false;
    loop {
        let read = log.read(&position, WAIT).await;
        let now = clock.now();
        let mut told = Vec::new();
        match read {
            Ok(page) => {
                if std::mem::take(&mut is_cut) {
                    told.push(Line::resumed(&tier, now));
                }
                if page.gap {
                    told.push(Line::gap(&tier, now));
                }
                told.extend(page.notices.iter().map(|notice| Line::of(notice, &tier, now)));
                position = page.next;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_cut, true) {
                    told.push(Line::cut(&tier, &error, now));
                }
                sleep(RETRY_AFTER).await;
            }
        }
        for line in told {
            if lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::{
        ByteSize, ErrorKind, Layer, ManualClock, MemoryTier, Namespace, Tier, TierExt,
        testkit::{Fault, Faults},
    };

    use super::super::line::Kind;
    use super::*;

    #[tokio::test]
    async fn a_cut_is_told_once_and_what_happened_meanwhile_after_it() {
        let clock = Arc::new(ManualClock::new());
        let memory = MemoryTier::shared(ByteSize::mib(1), clock.clone());
        let faults = Faults::new();
        let log = faults.layer().wrap(memory.clone()).log().expect("a memory tier has a log");
        let from = log.end().await.unwrap();
        let (sender, mut lines) = mpsc::channel(8);
        faults.always(Fault::Fail(ErrorKind::Unavailable));
        let follower = tokio::spawn(follow(log, from, clock, sender));
        let cut = lines.recv().await.unwrap();
        assert_eq!(cut.kind, Kind::Cut);

        let key = Namespace::new("n").unwrap().key("k").unwrap();
        memory.remove(key).await.unwrap();
        faults.heal();
        let kinds = [lines.recv().await.unwrap().kind, lines.recv().await.unwrap().kind];
        assert_eq!(kinds, [Kind::Resumed, Kind::Removal]);

        drop(lines);
        memory.clear(&Namespace::new("n").unwrap()).await.unwrap();
        follower.await.unwrap();
    }
}
