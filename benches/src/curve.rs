//! Figures by a size: what a program that measures growth hands to `cargo xtask bench`.

use serde::{Deserialize, Serialize};

use crate::comparison::Row;

/// One figure of one subject, by a size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// What was measured, with its unit: curves of the same measure are drawn in one diagram.
    pub measure: String,
    /// Of what.
    pub subject: String,
    /// What the sizes are.
    pub by: String,
    /// Sizes and figures, from the smallest size.
    pub points: Vec<(f64, f64)>,
}

/// A run's rows and curves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What is judged.
    pub rows: Vec<Row>,
    /// What is drawn.
    pub curves: Vec<Curve>,
}
