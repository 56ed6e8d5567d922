//! A log that fails when it is told to.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Fault, Faults};
use crate::{
    bus::{Change, Log, Notice, Page, Position},
    error::Result,
};

#[derive(Debug)]
pub(super) struct FaultyLog {
    pub(super) faults: Faults,
    pub(super) inner: Arc<dyn Log>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Log for FaultyLog {
    fn tier(&self) -> &Arc<str> {
        self.inner.tier()
    }

    async fn end(&self) -> Result<Position> {
        self.faults.meet(self.inner.end()).await
    }

    async fn read(&self, after: &Position, wait: Duration) -> Result<Page> {
        let fault = self.faults.next();
        let mut page = Faults::suffer(fault, self.inner.read(after, wait)).await?;
        match fault {
            Some(Fault::Duplicate) => page.notices = duplicated(page.notices),
            Some(Fault::Reorder) => page.notices = reordered(&page.notices),
            _ => {}
        }
        Ok(page)
    }

    async fn beat(&self) -> Result<()> {
        self.faults.meet(self.inner.beat()).await
    }
}

fn duplicated(notices: Vec<Notice>) -> Vec<Notice> {
    notices.into_iter().flat_map(|notice| [notice.clone(), notice]).collect()
}

/// What came last comes first, but the notices of one key keep their order.
fn reordered(notices: &[Notice]) -> Vec<Notice> {
    let mut changes: Vec<Change> = Vec::new();
    for notice in notices {
        if !changes.contains(&notice.change) {
            changes.push(notice.change.clone());
        }
    }
    let of = |change| notices.iter().filter(move |notice| notice.change == change).cloned();
    changes.into_iter().rev().flat_map(of).collect()
}
