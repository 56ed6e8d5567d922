//! Which entries go first when room is needed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// How willingly a tier that is full gives an entry up. The policy decides among entries of equal
/// priority only.
///
/// A hint, kept with the entry in every tier. It never lengthens a life: an entry of any priority
/// ends at its deadline.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EvictionPriority {
    /// Goes before all others.
    Low,
    /// What an entry has unless somebody says otherwise.
    #[default]
    Normal,
    /// Goes when nothing else is left.
    High,
    /// Is not evicted, while such entries together take no more than a tier's share for them.
    /// Beyond that it counts as [`High`](Self::High).
    Pinned,
}

impl EvictionPriority {
    /// Every priority, of what goes first first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Pinned];

    /// Its name in settings and statistics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Pinned => "pinned",
        }
    }
}

impl fmt::Display for EvictionPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EvictionPriority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text).ok_or_else(|| {
            let message = format!("`{}` is not an eviction priority", text.escape_debug());
            Error::new(ErrorKind::Config, message).hint("use low, normal, high or pinned")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_is_read_back_from_its_name() {
        for priority in EvictionPriority::ALL {
            assert_eq!(priority.to_string().parse::<EvictionPriority>().unwrap(), priority);
        }
        let error = "urgent".parse::<EvictionPriority>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
