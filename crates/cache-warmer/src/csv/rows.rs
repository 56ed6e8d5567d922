//! Reads and checks the rows of a CSV file.

use std::collections::{BTreeMap, btree_map::Entry};

use cache_core::{Error, ErrorKind, Namespace, Result};
use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Columns, CsvConfig, CsvSource};

/// Reads `bytes`, which errors call `name`.
pub(super) fn read(name: String, bytes: &[u8], config: &CsvConfig) -> Result<CsvSource> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes);
    let headings = reader.headers().map_err(|e| unreadable(&name, &StringRecord::new(), &e))?;
    let headings = headings.clone();
    let mut columns = Columns::new(&headings, config)
        .map_err(|fault| Error::new(ErrorKind::Config, format!("{name}, line 1: {fault}")))?;
    let mut rows = BTreeMap::new();
    for (i, row) in reader.records().enumerate() {
        if i == config.rows_max {
            let message = format!("{name} has more than {i} rows");
            let hint = "split it, or raise `rows_max`";
            return Err(Error::new(ErrorKind::TooLarge, message).hint(hint));
        }
        let row = row.map_err(|e| unreadable(&name, &headings, &e))?;
        check_key(&row[columns.key])
            .map_err(|error| error.context(place(&name, line_of(&row), &headings, columns.key)))?;
        columns.check(&row).map_err(|(column, fault)| {
            let place = place(&name, line_of(&row), &headings, column);
            Error::new(ErrorKind::Config, format!("{place}: {fault}"))
        })?;
        keep(&mut rows, row, &columns);
    }
    Ok(CsvSource { name, columns, rows })
}

/// The line on which a row begins.
pub(super) fn line_of(row: &StringRecord) -> u64 {
    row.position().map_or(0, csv::Position::line)
}

/// Keeps a row, unless the one that is there of its key counts.
fn keep(rows: &mut BTreeMap<String, StringRecord>, row: StringRecord, columns: &Columns) {
    match rows.entry(row[columns.key].to_owned()) {
        Entry::Vacant(entry) => {
            entry.insert(row);
        }
        Entry::Occupied(mut entry) => {
            if columns.supersedes(&row, entry.get()) {
                entry.insert(row);
            }
        }
    }
}

/// Whether a cache accepts the key, in whichever namespace.
fn check_key(key: &str) -> Result<()> {
    let namespace = Namespace::new("csv").expect("a short word is a namespace");
    namespace.key(key).map(|_| ())
}

fn place(name: &str, line: u64, headings: &StringRecord, column: usize) -> String {
    match headings.get(column) {
        Some(heading) => format!("{name}, line {line}, column `{heading}`"),
        None => format!("{name}, line {line}, column {}", column + 1),
    }
}

/// Says what the reader could not read.
fn unreadable(name: &str, headings: &StringRecord, error: &csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    let (column, fault, hint) = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => {
            (err.field(), "it is not UTF-8".to_owned(), "save the file as UTF-8")
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (
            // The last field that is there, or the first that should not be.
            usize::try_from(*(len.min(expected_len))).unwrap_or(usize::MAX),
            format!("the row has {len} fields, and the headings are {expected_len}"),
            "add or remove a comma, or put quotes around a field that holds one",
        ),
        _ => (0, error.to_string(), "check that it is a CSV file"),
    };
    let place = place(name, line, headings, column);
    Error::new(ErrorKind::Config, format!("{place}: {fault}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prices() -> CsvConfig {
        CsvConfig::new("Ticker").order_by("Date")
    }

    fn read_text(text: &str, config: &CsvConfig) -> Result<CsvSource> {
        read("f.csv".to_owned(), text.as_bytes(), config)
    }

    #[test]
    fn the_row_that_is_last_by_the_order_counts() {
        let text = "Ticker,Date,Close\nA,2013-02-01,1\nA,2013-03-01,2\nA,2013-01-01,3\n";
        let source = read_text(text, &prices()).unwrap();
        assert_eq!(source.value("A").unwrap()["Close"], 2);
        let source = read_text(text, &CsvConfig::new("Ticker")).unwrap();
        assert_eq!(source.value("A").unwrap()["Close"], 3, "without an order, the last one");
        let text = "Ticker,Date,Close\nA,9,1\nA,10,2\nA,10,3\n";
        let source = read_text(text, &prices()).unwrap();
        assert_eq!(source.value("A").unwrap()["Close"], 3, "10 is after 9, and equals in turn");
    }

    #[test]
    fn numbers_are_numbers_and_text_is_text() {
        let text = "\u{feff}k, int ,float,text,zeros,empty,late\n\
                    1,5,2.5,\"a, b\",007,,\n\
                    2,-6,1e3,NaN,5,,x\n";
        let source = read_text(text, &CsvConfig::new("k")).unwrap();
        let row = |key| serde_json::Value::from(source.value(key).unwrap());
        assert_eq!(
            row("1"),
            json!({"int": 5, "float": 2.5, "text": "a, b", "zeros": "007", "empty": null, "late": null})
        );
        assert_eq!(
            row("2"),
            json!({"int": -6, "float": 1000.0, "text": "NaN", "zeros": "5", "empty": null, "late": "x"})
        );
    }

    #[test]
    fn a_column_can_be_told_to_be_text() {
        let text = "k,code\na,12\nb,1X\n";
        let error = read_text(text, &CsvConfig::new("k")).unwrap_err().to_string();
        assert!(error.contains("line 3, column `code`: `1X` is not a number"), "{error}");
        assert!(error.contains("text_columns"), "{error}");
        let config = CsvConfig { text_columns: vec!["code".to_owned()], ..CsvConfig::new("k") };
        assert_eq!(read_text(text, &config).unwrap().value("a").unwrap()["code"], "12");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_file_line_and_column() {
        for (text, told) in [
            ("", "f.csv, line 1: there is no column `Ticker`; set `key_column`"),
            ("Ticker,Close\nA,1\n", "f.csv, line 1: there is no column `Date`; set `order_column`"),
            ("Ticker,Date,Date\n", "f.csv, line 1: the column `Date` is there twice"),
            ("Ticker,Date,Close\nA,1,1\nB,1,one\n", "line 3, column `Close`: `one` is not"),
            ("Ticker,Date,Close\nA,1,1\nB,1\n", "line 3, column `Close`: the row has 2 fields"),
            ("Ticker,Date,Close\nA,1,1\nB,1,2,3\n", "line 3, column 4: the row has 4 fields"),
            ("Ticker,Date,Close\n,1,1\n", "line 2, column `Ticker`: the key is empty"),
            ("Ticker,Date,Close\nA,,1\n", "line 2, column `Date`: it is empty"),
            ("Ticker,Date,Close\n\"A\u{1}\",1,1\n", "line 2, column `Ticker`: the key holds a"),
        ] {
            let error = read_text(text, &prices()).unwrap_err().to_string();
            assert!(error.contains(told), "{told:?} is not in {error:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_told_with_their_place() {
        for (bytes, told) in [
            (&b"Ticker,Date,Clo\xffse\nA,1,1\n"[..], "f.csv, line 1, column 3: it is not UTF-8"),
            (b"Ticker,Date,Close\nA,1,\xff\n", "f.csv, line 2, column `Close`: it is not UTF-8"),
        ] {
            let error = read("f.csv".to_owned(), bytes, &prices()).unwrap_err().to_string();
            assert!(error.contains(told), "{told:?} is not in {error:?}");
        }
    }

    #[test]
    fn rows_are_bounded() {
        let config = CsvConfig { rows_max: 2, ..CsvConfig::new("k") };
        assert!(read_text("k\na\nb\n", &config).is_ok());
        let error = read_text("k\na\nb\nc\n", &config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert!(error.to_string().contains("`rows_max`"), "{error}");
    }

    #[test]
    fn headings_alone_are_a_source_without_keys() {
        let source = read_text("Ticker,Date\n", &prices()).unwrap();
        assert_eq!((source.keys().count(), source.value("A")), (0, None));
    }
}
