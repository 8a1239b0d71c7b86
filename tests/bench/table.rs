//! Rows and how they are printed.

use crate::Repeats;

/// What measures some rows at once.
pub struct Bench {
    /// Titles of its rows, for choosing.
    pub rows: &'static [&'static str],
    /// Does it.
    pub measure: fn(Repeats) -> Vec<Row>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    title: String,
    unit: &'static str,
    /// Label, measured, limit; a value without limit is only reported.
    values: Vec<(&'static str, f64, Option<f64>)>,
    peers: &'static str,
}

impl Row {
    /// `peers` is what the official workers take, measured the same way.
    pub fn new(title: &str, unit: &'static str, peers: &'static str) -> Self {
        Self { title: title.into(), unit, values: Vec::new(), peers }
    }

    /// What could not be measured; its error is on stderr.
    pub fn not_measured(title: &str) -> Self {
        Self::new(title, "see the error", "").must("", f64::INFINITY, f64::INFINITY)
    }

    /// A value that must not be over `limit`.
    pub fn must(mut self, label: &'static str, value: f64, limit: f64) -> Self {
        self.values.push((label, value, Some(limit)));
        self
    }

    /// A value to report.
    pub fn report(mut self, label: &'static str, value: f64) -> Self {
        self.values.push((label, value, None));
        self
    }

    /// Whether every limit is kept. What could not be measured does not keep it.
    pub fn met(&self) -> bool {
        self.values.iter().all(|(_, value, limit)| limit.is_none_or(|limit| value.is_finite() && *value <= limit))
    }

    fn cells(&self) -> [String; 4] {
        let join = |texts: Vec<String>| texts.join("; ");
        let labelled = |label: &str, value: String| if label.is_empty() { value } else { format!("{label} {value}") };
        let now = self.values.iter().map(|(label, value, _)| labelled(label, number(*value))).collect();
        let limits = self.values.iter().filter_map(|(_, _, limit)| limit.filter(|limit| limit.is_finite()));
        let must = limits.map(|limit| format!("<= {}", number(limit)));
        let mark = if self.met() { "" } else { " **not met**" };
        [
            format!("{}, {}", self.title, self.unit),
            join(must.collect()),
            format!("{}{mark}", join(now)),
            self.peers.into(),
        ]
    }
}

/// Prints a Markdown table, ready for SPECIFICATION.md.
pub fn print(rows: &[Row]) {
    let mut lines = vec![["what", "must", "now", "Python / Node"].map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let widths = [0, 1, 2, 3].map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or_default());
    for (index, line) in lines.iter().enumerate() {
        let cells = [0, 1, 2, 3].map(|column| format!("{:1$}", line[column], widths[column]));
        println!("| {} |", cells.join(" | "));
        if index == 0 {
            println!("|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
}

/// The value below which `percent` of them lie; infinite when there is none, so that no limit is kept.
pub fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(f64::INFINITY)
}

fn number(value: f64) -> String {
    if !value.is_finite() {
        return "not measured".into();
    }
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}
