//! Figures, printed and written.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde_json::{Value, json};

/// The measurements so far.
pub struct Report {
    is_quick: bool,
    figures: Vec<Figure>,
}

/// One measurement, with its floor, if any, and its bound.
pub struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    floor: Option<(String, f64)>,
    wanted: Option<Wanted>,
}

/// A bound: of the ratio to the floor if there is one, else of the value.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { what: what.into(), value, unit, floor: None, wanted: None }
    }

    /// Printed next to this floor, which has the same unit.
    pub fn over(mut self, floor: impl Into<String>, value: f64) -> Self {
        self.floor = Some((floor.into(), value));
        self
    }

    pub const fn at_least(mut self, bound: f64) -> Self {
        self.wanted = Some(Wanted::AtLeast(bound));
        self
    }

    pub const fn at_most(mut self, bound: f64) -> Self {
        self.wanted = Some(Wanted::AtMost(bound));
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.as_ref().map(|(_, floor)| self.value / floor)
    }

    fn wanted(&self) -> String {
        let judged = self.ratio().unwrap_or(self.value);
        let (text, is_met) = match self.wanted {
            Some(Wanted::AtLeast(bound)) => (format!("≥ {bound}"), judged >= bound),
            Some(Wanted::AtMost(bound)) => (format!("≤ {bound}"), judged <= bound),
            None => return String::new(),
        };
        text + if is_met { " ✓" } else { " ✗" }
    }

    fn json(&self) -> Value {
        let mut json = json!({ "what": self.what, "value": self.value, "unit": self.unit });
        if let (Some((floor, value)), Some(ratio)) = (&self.floor, self.ratio()) {
            json["floor"] = json!({ "what": floor, "value": value });
            json["ratio"] = json!(ratio);
        }
        match self.wanted {
            Some(Wanted::AtLeast(bound)) => json["at_least"] = json!(bound),
            Some(Wanted::AtMost(bound)) => json["at_most"] = json!(bound),
            None => {}
        }
        json
    }
}

impl Report {
    pub const fn new(is_quick: bool) -> Self {
        Self { is_quick, figures: Vec::new() }
    }

    /// Adds a figure and prints it.
    pub fn add(&mut self, figure: Figure) {
        eprintln!("{}", row(&figure));
        self.figures.push(figure);
    }

    /// Prints a table in Markdown.
    pub fn print(&self) {
        println!("| what | | unit | floor | | ratio | wanted |");
        println!("| --- | ---: | --- | --- | ---: | ---: | --- |");
        for figure in &self.figures {
            println!("{}", row(figure));
        }
    }

    /// Writes the same as JSON to a file, or to standard output for `-`.
    pub fn write_json(&self, to: &Path) -> io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let json = json!({ "quick": self.is_quick, "cores": cores, "figures": figures });
        let text = format!("{json:#}\n");
        if to == Path::new("-") {
            return io::stdout().write_all(text.as_bytes());
        }
        fs::write(to, text)
    }
}

fn row(figure: &Figure) -> String {
    let Figure { what, value, unit, floor, .. } = figure;
    let (floor, floor_value) = match floor {
        Some((floor, value)) => (floor.as_str(), number(*value)),
        None => ("", String::new()),
    };
    let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    let (value, wanted) = (number(*value), figure.wanted());
    format!("| {what} | {value} | {unit} | {floor} | {floor_value} | {ratio} | {wanted} |")
}

/// Three significant digits, more if there are more before the point.
fn number(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}")
}
