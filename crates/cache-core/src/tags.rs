//! The tags of an entry, by which many entries are invalidated at once.

use std::sync::Arc;

use crate::{
    error::{Error, ErrorKind, Result},
    key::{Key, Namespace},
};

/// The most tags that one entry may carry, one of them the cache's own: callers name 31.
pub const TAGS_MAX: usize = 32;

/// The longest name of a tag, in bytes of UTF-8.
pub const TAG_LEN_MAX: usize = 128;

/// The key under which the generation of `tag` is kept, for entries of `namespace`. To remove it is
/// to invalidate the tag, if [`horizon_key`] is removed with it.
///
/// # Errors
///
/// [`ErrorKind::InvalidKey`] for a name that is empty, longer than [`TAG_LEN_MAX`] or unprintable.
pub fn generation_key(namespace: &Namespace, tag: &str) -> Result<Key> {
    check(tag)?;
    namespace.reserved("tags").key(tag)
}

/// The key where every change of a tag of `namespace` leaves its mark: by it a load that brings tags
/// is told from one that began before they changed.
#[must_use]
pub fn horizon_key(namespace: &Namespace) -> Key {
    namespace.reserved("tagged").key("horizon").expect("the text is a key's")
}

fn check(tag: &str) -> Result<()> {
    if !tag.is_empty() && tag.len() <= TAG_LEN_MAX {
        return Ok(());
    }
    let message = match tag.len() {
        0 => "the tag is empty".to_owned(),
        len => format!("a tag of {len} bytes"),
    };
    Err(Error::new(ErrorKind::InvalidKey, message)
        .hint(format!("name it with 1 to {TAG_LEN_MAX} bytes")))
}

/// The tags of an entry with the generation that each had when the entry's load began.
///
/// An entry is served while every tag is still of that generation. Invalidating a tag gives it a
/// new one, at a cost that does not depend on the number of entries; and a tag whose generation is
/// lost gets a new one too, so that it invalidates and never resurrects (promise P8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[TagMark]>>);

/// One tag of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMark {
    /// Its name.
    pub tag: Arc<str>,
    /// Its generation when the entry's load began.
    pub generation: u64,
}

/// Which entries to invalidate, by their tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagQuery {
    /// Those that carry at least one of these.
    AnyOf(Vec<Arc<str>>),
    /// Those that carry each of these.
    AllOf(Vec<Arc<str>>),
}

impl TagQuery {
    /// The entries that carry at least one of `tags`.
    pub fn any_of<'a>(tags: impl IntoIterator<Item = &'a str>) -> Self {
        Self::AnyOf(tags.into_iter().map(Arc::from).collect())
    }

    /// The entries that carry each of `tags`.
    pub fn all_of<'a>(tags: impl IntoIterator<Item = &'a str>) -> Self {
        Self::AllOf(tags.into_iter().map(Arc::from).collect())
    }

    /// Checks that there are tags, and their names.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidKey`] for no tag, or for a name as with [`Tags::new`];
    /// [`ErrorKind::TooLarge`] for more than [`TAGS_MAX`].
    pub fn validate(&self) -> Result<()> {
        let (Self::AnyOf(tags) | Self::AllOf(tags)) = self;
        if tags.is_empty() {
            return Err(Error::new(ErrorKind::InvalidKey, "no tag to invalidate by")
                .hint("name one, or clear the cache"));
        }
        let mark = |tag: &Arc<str>| TagMark { tag: Arc::clone(tag), generation: 0 };
        Tags::new(tags.iter().map(mark).collect()).map(|_| ())
    }
}

impl Tags {
    /// No tags.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// These tags.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more than [`TAGS_MAX`], [`ErrorKind::InvalidKey`] for a name that
    /// is empty or longer than [`TAG_LEN_MAX`].
    pub fn new(marks: Vec<TagMark>) -> Result<Self> {
        if marks.len() > TAGS_MAX {
            let message = format!("{} tags on one entry are above {TAGS_MAX}", marks.len());
            return Err(Error::new(ErrorKind::TooLarge, message).hint("use fewer"));
        }
        for TagMark { tag, .. } in &marks {
            check(tag)?;
        }
        Ok(if marks.is_empty() { Self(None) } else { Self(Some(marks.into())) })
    }

    /// The tags, none or some.
    #[must_use]
    pub fn marks(&self) -> &[TagMark] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}
