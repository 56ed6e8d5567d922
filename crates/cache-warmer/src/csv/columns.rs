//! What the columns of a CSV file hold.

use std::cmp::Ordering;

use csv::StringRecord;
use serde_json::{Map, Number, Value};

use super::CsvConfig;

/// The columns, by their places.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    pub(super) key: usize,
    order: Option<usize>,
    kinds: Vec<Kind>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It has been empty so far.
    Unknown,
    Number,
    Text,
}

impl Columns {
    /// Finds the columns that `config` names; else, and for a name that is there twice, says what
    /// is wrong.
    pub(super) fn new(headings: &StringRecord, config: &CsvConfig) -> Result<Self, String> {
        let names: Vec<String> = headings.iter().map(str::to_owned).collect();
        if let Some(twice) =
            names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name))
        {
            return Err(format!("the column `{twice}` is there twice; rename one"));
        }
        let place = |setting: &str, wanted: &str| {
            names.iter().position(|name| name == wanted).ok_or_else(|| {
                let known = names.join("`, `");
                format!("there is no column `{wanted}`; set `{setting}` to one of `{known}`")
            })
        };
        let key = place("key_column", &config.key_column)?;
        let order = config.order_column.as_deref();
        let order = order.map(|name| place("order_column", name)).transpose()?;
        let mut kinds = vec![Kind::Unknown; names.len()];
        for name in &config.text_columns {
            kinds[place("text_columns", name)?] = Kind::Text;
        }
        kinds[key] = Kind::Text;
        Ok(Self { names, key, order, kinds })
    }

    /// Learns what the columns hold from a row, or says which field does not fit, and why.
    pub(super) fn check(&mut self, row: &StringRecord) -> Result<(), (usize, String)> {
        for (place, field) in row.iter().enumerate().filter(|(_, field)| !field.is_empty()) {
            match (self.kinds[place], number(field)) {
                (Kind::Unknown, Some(_)) => self.kinds[place] = Kind::Number,
                (Kind::Unknown, None) => self.kinds[place] = Kind::Text,
                (Kind::Number, None) => {
                    let advice = "correct it, or name the column in `text_columns`";
                    return Err((place, format!("`{field}` is not a number; {advice}")));
                }
                (Kind::Number, Some(_)) | (Kind::Text, _) => {}
            }
        }
        match self.order {
            Some(place) if row[place].is_empty() => {
                Err((place, "it is empty, and rows are ordered by it; fill it in".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether `row` counts instead of `known`, an earlier row of the same key.
    pub(super) fn supersedes(&self, row: &StringRecord, known: &StringRecord) -> bool {
        let Some(place) = self.order else { return true };
        let (ours, theirs) = (&row[place], &known[place]);
        let ordering = match self.kinds[place] {
            Kind::Number => compare(ours, theirs).unwrap_or(Ordering::Equal),
            Kind::Text | Kind::Unknown => ours.cmp(theirs),
        };
        ordering.is_ge()
    }

    /// A checked row as JSON, without its key.
    pub(super) fn object(&self, row: &StringRecord) -> Map<String, Value> {
        let fields = row.iter().enumerate().filter(|(place, _)| *place != self.key);
        fields
            .map(|(place, field)| {
                let value = match self.kinds[place] {
                    _ if field.is_empty() => Value::Null,
                    Kind::Number => number(field).map_or(Value::Null, Value::Number),
                    Kind::Text | Kind::Unknown => Value::from(field),
                };
                (self.names[place].clone(), value)
            })
            .collect()
    }
}

/// A number as JSON writes it: `007` is none, so that it keeps its zeros, and neither is `NaN`.
fn number(field: &str) -> Option<Number> {
    serde_json::from_str(field).ok()
}

/// Compares numbers; whole ones exactly, however large.
fn compare(ours: &str, theirs: &str) -> Option<Ordering> {
    let (ours, theirs) = (number(ours)?, number(theirs)?);
    match (ours.as_i64(), theirs.as_i64()) {
        (Some(ours), Some(theirs)) => Some(ours.cmp(&theirs)),
        _ => ours.as_f64()?.partial_cmp(&theirs.as_f64()?),
    }
}
