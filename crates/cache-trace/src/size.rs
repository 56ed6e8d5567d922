//! How large a cache is to be.

use std::{fmt, str::FromStr};

use cache_core::{ByteSize, Error, ErrorKind};

use crate::{replay::Unit, trace::Trace};

/// How many sizes there are unless they are named.
const SIZES: u32 = 20;

/// The smallest of them, as a part of the whole.
const SMALLEST: f64 = 0.001;

/// A size as a person writes it: `5%` of the different keys, `1000` values, `64MiB`.
///
/// Where a size is in bytes each value weighs what it is long; else each weighs one.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    text: String,
    amount: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    /// Of the different keys.
    Percent(f64),
    Items(u64),
    Bytes(u64),
}

impl Size {
    /// Room for so many values.
    #[must_use]
    pub fn items(items: u64) -> Self {
        Self { text: items.to_string(), amount: Amount::Items(items) }
    }

    /// Room for values of so many bytes.
    #[must_use]
    pub fn bytes(bytes: u64) -> Self {
        Self { text: ByteSize::bytes(bytes).to_string(), amount: Amount::Bytes(bytes) }
    }

    /// 20 sizes from a thousandth of what the trace's keys would take up to all of it, each larger
    /// than the one before by the same factor: in bytes where the trace tells sizes, else in values.
    #[must_use]
    pub fn spread(trace: &Trace) -> Vec<Self> {
        let whole = trace.bytes_total().ceil().max(1.0);
        let of = if trace.columns().size { Self::bytes } else { Self::items };
        let smallest = (whole * SMALLEST).max(1.0);
        let step = (whole / smallest).powf(1.0 / f64::from(SIZES - 1));
        let sizes = (0..SIZES).map(|i| (smallest * step.powf(f64::from(i))).round() as u64);
        let mut sizes: Vec<u64> = sizes.collect();
        sizes.dedup();
        sizes.into_iter().map(of).collect()
    }

    /// By what values weigh.
    #[must_use]
    pub fn unit(&self) -> Unit {
        match self.amount {
            Amount::Percent(_) | Amount::Items(_) => Unit::Items,
            Amount::Bytes(_) => Unit::Bytes,
        }
    }

    /// How much there is room for, of a trace's keys. A part of them is rounded down.
    #[must_use]
    pub fn capacity(&self, trace: &Trace) -> u64 {
        match self.amount {
            Amount::Percent(percent) => (trace.keys_total() * percent / 100.0) as u64,
            Amount::Items(amount) | Amount::Bytes(amount) => amount,
        }
    }

    /// Whether the trace can tell what fits.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a size in bytes where the trace has no sizes.
    pub fn check(&self, trace: &Trace) -> Result<(), Error> {
        if self.unit() == Unit::Bytes && !trace.columns().size {
            let message = format!("{self} is a size in bytes, and the trace tells no sizes");
            return Err(Error::new(ErrorKind::Config, message)
                .hint("give a number of values or a percentage, or a trace with a column `size`"));
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let wrong = || {
            Error::new(ErrorKind::Config, format!("`{text}` is no size of a cache")).hint(
                "write a percentage of the keys, a number of values or bytes: 5%, 1000, 64MiB",
            )
        };
        let amount = if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse::<f64>().map_err(|_| wrong())?;
            Amount::Percent(percent)
        } else if let Ok(items) = text.parse::<u64>() {
            Amount::Items(items)
        } else {
            Amount::Bytes(text.parse::<ByteSize>().map_err(|_| wrong())?.as_u64())
        };
        match amount {
            Amount::Percent(percent) if percent.is_nan() || percent < 0.0 => Err(wrong()),
            Amount::Percent(0.0) | Amount::Items(0) | Amount::Bytes(0) => Err(Error::new(
                ErrorKind::Config,
                format!("a cache of size `{text}` holds nothing"),
            )
            .hint("give a size above 0")),
            amount => Ok(Self { text: text.to_owned(), amount }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Columns, Request, TraceBuilder};

    fn trace(keys: u64, size: u32) -> Trace {
        let columns = Columns { size: size > 1, ..Columns::default() };
        let mut builder = TraceBuilder::new(columns, usize::MAX);
        (0..keys).for_each(|hash| builder.push(Request { hash, size, ..Request::default() }));
        builder.finish().unwrap()
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let capacity = |text: &str| text.parse::<Size>().unwrap().capacity(&trace(13_756, 1));
        assert_eq!(capacity("1%"), 137);
        assert_eq!(capacity("10%"), 1_375);
        assert_eq!(capacity("0.005 %"), 0);
        assert_eq!(capacity("1000"), 1_000);
        assert_eq!(capacity("64KiB"), 65_536);
        for (text, told) in [
            ("", "is no size"),
            ("-1", "is no size"),
            ("-1%", "is no size"),
            ("NaN%", "is no size"),
            ("many", "is no size"),
            ("0", "holds nothing"),
            ("0%", "holds nothing"),
            ("0B", "holds nothing"),
        ] {
            let error = text.parse::<Size>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_need_a_trace_with_sizes() {
        let size: Size = "1MiB".parse().unwrap();
        assert!(size.check(&trace(3, 1)).unwrap_err().to_string().contains("tells no sizes"));
        assert!(size.check(&trace(3, 9)).is_ok());
    }

    #[test]
    fn sizes_are_spread_from_a_thousandth_to_the_whole() {
        let sizes = Size::spread(&trace(20_000, 1));
        let capacities: Vec<u64> =
            sizes.iter().map(|size| size.capacity(&trace(20_000, 1))).collect();
        assert_eq!((sizes.len(), capacities[0], capacities[19]), (20, 20, 20_000));
        let few = Size::spread(&trace(3, 1));
        assert_eq!(few, [Size::items(1), Size::items(2), Size::items(3)]);
        let bytes = Size::spread(&trace(1_000, 1_024));
        assert_eq!((bytes[0].unit(), bytes[19].to_string().as_str()), (Unit::Bytes, "1000KiB"));
    }
}
