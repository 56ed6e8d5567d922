//! Figures that depend on a size: how they are read, told and drawn.

use serde::{Deserialize, Serialize};

use super::chart::{self, Line, Panel, short};

/// One figure of one subject by one size, as the program writes it
/// (`cache_benches::growth::Curve`).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Curve {
    /// What was measured, with its unit: curves of the same one share a diagram.
    measure: String,
    subject: String,
    /// What the first number of each point is.
    by: String,
    points: Vec<(f64, f64)>,
}

/// A table of each measure: its title, its header, a row a size.
pub(super) struct Listing {
    pub(super) title: String,
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) fn listings(curves: &[Curve]) -> Vec<Listing> {
    measures(curves).into_iter().map(|measure| listing(measure, curves)).collect()
}

fn listing(measure: &str, curves: &[Curve]) -> Listing {
    let curves: Vec<&Curve> = curves.iter().filter(|curve| curve.measure == measure).collect();
    let mut sizes: Vec<f64> =
        curves.iter().flat_map(|curve| curve.points.iter().map(|(x, _)| *x)).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let mut header = vec![curves.first().map_or_else(String::new, |curve| curve.by.clone())];
    header.extend(curves.iter().map(|curve| curve.subject.clone()));
    let rows = sizes
        .into_iter()
        .map(|size| {
            let at = |curve: &&Curve| {
                let point = curve.points.iter().find(|(x, _)| *x == size);
                point.map_or_else(|| "-".to_owned(), |(_, y)| short(*y))
            };
            let mut row = vec![short(size)];
            row.extend(curves.iter().map(at));
            row
        })
        .collect();
    Listing { title: measure.to_owned(), header, rows }
}

/// A diagram of each measure, below one another.
pub(super) fn draw(title: &str, curves: &[Curve]) -> String {
    let mut subjects: Vec<&str> = Vec::new();
    for curve in curves {
        if !subjects.contains(&curve.subject.as_str()) {
            subjects.push(&curve.subject);
        }
    }
    let line = |curve: &Curve| Line {
        name: curve.subject.clone(),
        colour: subjects.iter().position(|name| *name == curve.subject).unwrap_or(0),
        points: curve.points.clone(),
    };
    let panels: Vec<Panel> = measures(curves)
        .into_iter()
        .map(|measure| {
            let of_measure = || curves.iter().filter(|curve| curve.measure == measure);
            Panel {
                title: measure.to_owned(),
                x_label: of_measure().next().map_or_else(String::new, |curve| curve.by.clone()),
                lines: of_measure().map(line).collect(),
            }
        })
        .collect();
    chart::panels(title, &panels)
}

/// In the order in which they come.
fn measures(curves: &[Curve]) -> Vec<&str> {
    let mut measures: Vec<&str> = Vec::new();
    for curve in curves {
        if !measures.contains(&curve.measure.as_str()) {
            measures.push(&curve.measure);
        }
    }
    measures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(measure: &str, subject: &str, points: &[(f64, f64)]) -> Curve {
        let (measure, subject) = (measure.to_owned(), subject.to_owned());
        Curve { measure, subject, by: "entries".to_owned(), points: points.to_vec() }
    }

    #[test]
    fn each_measure_has_a_table_and_a_diagram_and_what_was_not_measured_a_dash() {
        let curves = [
            curve("bytes", "near", &[(1_000.0, 200.0), (10_000.0, 190.0)]),
            curve("bytes", "redis", &[(1_000.0, 250.0)]),
            curve("hits", "near", &[(1_000.0, 5e6)]),
        ];
        let listings = listings(&curves);
        assert_eq!(listings.len(), 2);
        assert_eq!(listings[0].header, ["entries", "near", "redis"]);
        assert_eq!(listings[0].rows, [["1k", "200", "250"], ["10k", "190", "-"]]);
        let svg = draw("growth", &curves);
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("line s0").count(), 4, "near has one colour in both");
    }
}
