//! Figures, as they are printed.

/// What was measured so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
}

struct Row {
    what: String,
    rate: f64,
    floor: String,
    floor_rate: f64,
}

impl Report {
    /// Adds something done `rate` times a second, beside a floor.
    pub fn add(&mut self, what: &str, rate: f64, floor: &str, floor_rate: f64) {
        eprintln!("{what}: {rate:.0}/s, {floor}: {floor_rate:.0}/s");
        let (what, floor) = (what.to_owned(), floor.to_owned());
        self.rows.push(Row { what, rate, floor, floor_rate });
    }

    /// Prints a table in Markdown.
    pub fn print(&self) {
        println!("| what | a second | floor | a second | ratio |");
        println!("| --- | ---: | --- | ---: | ---: |");
        for Row { what, rate, floor, floor_rate } in &self.rows {
            let ratio = rate / floor_rate;
            println!("| {what} | {rate:.0} | {floor} | {floor_rate:.0} | {ratio:.2} |");
        }
    }
}

/// The one in the middle.
pub fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
