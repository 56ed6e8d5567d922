//! Inserts, invalidations and clears: from the bottom tier up to the near tier.

use std::sync::Arc;

use super::{
    Cache,
    item::Item,
    near::NearFence,
    shared::{Form, Prepared, Shared},
    tag_book,
};
use crate::{
    entry::{Entry, Version},
    error::{Error, ErrorKind, Result},
    key::Key,
    tags::TagQuery,
    tier::{Condition, Put, PutOutcome, Removal, Tier, check_batch},
};

impl<V: Send + Sync + 'static> Cache<V> {
    /// Writes a value to every tier. Loads that are under way do not undo it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey),
    /// [`ErrorKind::InvalidTtl`](crate::ErrorKind::InvalidTtl),
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) and
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) before anything is written. Else an
    /// error names each tier that failed, and that may hold an older value; the others have been
    /// written.
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the write.
    pub async fn insert(&self, key: &str, item: impl Into<Item<V>>) -> Result<PutOutcome> {
        let item = item.into();
        if self.0.stack.is_none() && item.terms.tags.is_empty() {
            // It waits for nobody, so it needs no task that would outlive a dropped future.
            return self.0.insert_here(key, item);
        }
        // Boxed, as this is a large future that each insert above would pay for moving.
        Ok(Box::pin(self.insert_many([(key, item)])).await?[0])
    }

    /// Writes values to every tier, with one call a tier. Answers in their order.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert): either nothing has been written, or what could be.
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the write.
    pub async fn insert_many<K: AsRef<str>, I: Into<Item<V>>>(
        &self,
        items: impl IntoIterator<Item = (K, I)>,
    ) -> Result<Vec<PutOutcome>> {
        let inserts = items
            .into_iter()
            .map(|(key, item)| self.0.prepare_insert(key.as_ref(), item.into()))
            .collect::<Result<Vec<_>>>()?;
        check_batch(inserts.len())?;
        self.0.run(Arc::clone(&self.0).insert_all(inserts)).await
    }

    /// Removes a key from every tier. After this returned, no load that began before brings the
    /// old value back, in any tier.
    ///
    /// # Errors
    ///
    /// An error names each tier that failed and may still hold the old value; it has been removed
    /// from the others.
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the removal.
    pub async fn invalidate(&self, key: &str) -> Result<()> {
        self.invalidate_many([key]).await
    }

    /// Removes a key from every tier and refuses versions older than `version` from now on, so
    /// that a load from a lagging replica does not bring the old value back either.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the removal.
    pub async fn invalidate_before(&self, key: &str, version: Version) -> Result<()> {
        let key = self.0.namespace.key(key)?;
        let removal = Removal { key, version: Some(version) };
        self.0.run(Arc::clone(&self.0).remove_all(vec![removal])).await
    }

    /// Removes keys from every tier, with one call a tier.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the removal.
    pub async fn invalidate_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<()> {
        let removals = keys
            .into_iter()
            .map(|key| self.0.namespace.key(key.as_ref()).map(Removal::from))
            .collect::<Result<Vec<_>>>()?;
        check_batch(removals.len())?;
        self.0.run(Arc::clone(&self.0).remove_all(removals)).await
    }

    /// Has every entry that carries `tag` count as removed, at a cost that does not depend on how
    /// many there are. A value whose load began before is not kept.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the invalidation.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.invalidate_tagged(TagQuery::any_of([tag])).await
    }

    /// Has the entries that `query` names by their tags count as removed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`](crate::ErrorKind::InvalidKey) for a tag without a name or with a
    /// too long one; otherwise as [`invalidate`](Self::invalidate). For "all of" a tier has to give
    /// leases.
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the invalidation.
    pub async fn invalidate_tagged(&self, query: TagQuery) -> Result<()> {
        query.validate()?;
        self.0.run(Arc::clone(&self.0).invalidate_tags(query)).await
    }

    /// Removes everything of the cache's namespace from every tier.
    ///
    /// # Errors
    ///
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    ///
    /// A dropped future does not stop the clear.
    pub async fn clear(&self) -> Result<()> {
        self.0.run(Arc::clone(&self.0).clear_all()).await
    }
}

impl<V: Send + Sync + 'static> Shared<V> {
    /// Checks and encodes what a caller inserts.
    pub(super) fn prepare_insert(&self, key: &str, item: Item<V>) -> Result<(Key, Prepared<V>)> {
        let key = self.namespace.key(key)?;
        let prepared = self.prepare_under(key.text(), item, Form::Encoded)?;
        Ok((key, prepared))
    }

    fn prepare_under(&self, text: &str, item: Item<V>, form: Form) -> Result<Prepared<V>> {
        self.prepare(item, form).map_err(|error| error.context(format_args!("insert of `{text}`")))
    }

    /// Writes to the near tier, where there is no other: nothing is encoded for that.
    fn insert_here(&self, text: &str, item: Item<V>) -> Result<PutOutcome> {
        Key::check(text)?;
        let prepared = self.prepare_under(text, item, Form::Measured)?;
        self.check_open()?;
        let outcome = self.insert_near(text, prepared, PutOutcome::Skipped, None);
        if self.flights.is_any() {
            self.flights.detach(&self.namespace.key(text)?);
        }
        Ok(outcome)
    }

    /// Writes to every tier. Flights that are under way do not answer anybody who comes after.
    pub(super) async fn insert_all(
        self: Arc<Self>,
        mut inserts: Vec<(Key, Prepared<V>)>,
    ) -> Result<Vec<PutOutcome>> {
        self.follow_logs().await;
        for (key, prepared) in &mut inserts {
            self.stamp_insert(key, &mut prepared.entry).await?;
        }
        let puts: Vec<Put> = inserts
            .iter()
            .map(|(key, prepared)| Put {
                key: key.clone(),
                entry: prepared.entry.clone(),
                condition: Condition::Always,
            })
            .collect();
        let _expected = self.coherence.expect(&puts);
        let mut fences = vec![None; puts.len()];
        let (below, result) = match &self.stack {
            Some(stack) => {
                let read = |put: &Put| self.near_fence(&put.key);
                fences = puts.iter().map(read).collect();
                stack.put_up(&puts).await
            }
            None => (vec![PutOutcome::Skipped; puts.len()], Ok(())),
        };
        let mut outcomes = Vec::with_capacity(below.len());
        for (((key, prepared), below), fence) in inserts.into_iter().zip(below).zip(fences) {
            outcomes.push(self.insert_near(key.text(), prepared, below, fence));
            self.flights.detach(&key);
        }
        result.map(|()| outcomes)
    }

    /// Gives the tags of what a caller inserts their present generations.
    async fn stamp_insert(&self, key: &Key, entry: &mut Entry) -> Result<()> {
        if entry.tags.is_empty() {
            return Ok(());
        }
        let names: Vec<Arc<str>> = tag_book::names(&entry.tags).collect();
        let start = self.tags.start(&names).await;
        entry.tags = self.tags.stamp(&start, &names).await.ok_or_else(|| {
            let message = format!("insert of `{}`: its tags could not be read", key.text());
            Error::new(ErrorKind::Unavailable, message)
                .hint("look at the lowest tier, which keeps them, or insert without tags")
        })?;
        Ok(())
    }

    fn insert_near(
        &self,
        text: &str,
        Prepared { value, entry, payload_len }: Prepared<V>,
        below: PutOutcome,
        fence: Option<NearFence>,
    ) -> PutOutcome {
        let Some(near) = &self.near else { return below };
        if below == PutOutcome::Superseded {
            // The tiers know a newer version than this one, and than what the near tier holds.
            near.remove(text, entry.version);
            return below;
        }
        self.note_priority(near, text, &entry);
        let digest = self.coherence.digest_of_insert(&entry);
        match (near.insert(text, value, &entry, payload_len, fence, digest), below) {
            (PutOutcome::Superseded, _) => PutOutcome::Superseded,
            (near, PutOutcome::Skipped) => near,
            (_, below) => below,
        }
    }

    /// Removes from every tier, tries all of them, and fails if one did.
    pub(super) async fn remove_all(self: Arc<Self>, removals: Vec<Removal>) -> Result<()> {
        let result = match &self.stack {
            Some(stack) => stack.remove_many(&removals).await,
            None => Ok(()),
        };
        for Removal { key, version } in &removals {
            if let Some(near) = &self.near {
                near.remove(key.text(), *version);
            }
            self.flights.detach(key);
            self.note_removed(key);
        }
        result
    }

    async fn invalidate_tags(self: Arc<Self>, query: TagQuery) -> Result<()> {
        self.follow_logs().await;
        let result = match query {
            TagQuery::AnyOf(names) => self.tags.invalidate(&names).await,
            TagQuery::AllOf(names) => self.tags.invalidate_all_of(&names).await,
        };
        // Which of the loads under way bring tagged values is not known before they end.
        self.flights.detach_all();
        result
    }

    pub(super) async fn clear_all(self: Arc<Self>) -> Result<()> {
        let result = match &self.stack {
            Some(stack) => stack.clear(&self.namespace).await,
            None => Ok(()),
        };
        if let Some(near) = &self.near {
            near.clear();
        }
        self.flights.detach_all();
        result
    }
}
