//! What is compared.

use std::{fmt, str::FromStr};

use cache_core::{Error, ErrorKind, Eviction};

/// A policy, or the optimum that none of them reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Contender {
    /// A policy that a cache can have.
    Policy(Eviction),
    /// `opt`: who knows the future, and gives up what is read again last (Belady). Exact where each
    /// value weighs the same; where not, a rule of thumb that is hardly ever beaten.
    Optimum,
}

impl Contender {
    /// All policies and the optimum.
    pub fn all() -> impl Iterator<Item = Self> {
        Eviction::ALL.iter().copied().map(Self::Policy).chain([Self::Optimum])
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => f.pad(&policy.to_string()),
            Self::Optimum => f.pad("opt"),
        }
    }
}

impl FromStr for Contender {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        Self::all().find(|known| known.to_string() == text).ok_or_else(|| {
            let names: Vec<String> = Self::all().map(|known| known.to_string()).collect();
            Error::new(ErrorKind::Config, format!("`{text}` is no eviction policy"))
                .hint(format!("write one of: {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for contender in Contender::all() {
            assert_eq!(contender.to_string().parse::<Contender>().unwrap(), contender);
        }
        let error = "belady".parse::<Contender>().unwrap_err().to_string();
        assert!(error.contains("`belady`") && error.contains("s3-fifo, "), "{error}");
        assert!(error.ends_with("opt"), "{error}");
    }
}
