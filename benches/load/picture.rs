//! Pictures of three figures, as SVG, for light and dark screens.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::storm::Felt;

const WIDTH: f64 = 700.0;
const HEIGHT: f64 = 320.0;

/// Around the plot: left, right, top, bottom.
const MARGINS: [f64; 4] = [60.0, 20.0, 40.0, 44.0];

/// Colours of paper, text, grid and the two lines; the second set is for dark screens.
const STYLE: &str = "<style>\n\
svg { --paper: #ffffff; --ink: #1f2328; --grid: #d0d7de; --first: #0969da; --second: #bc4c00; }\n\
@media (prefers-color-scheme: dark) {\n\
svg { --paper: #0d1117; --ink: #e6edf3; --grid: #30363d; --first: #58a6ff; --second: #f0883e; }\n\
}\n\
text { fill: var(--ink); }\n\
.paper { fill: var(--paper); }\n\
.grid { stroke: var(--grid); fill: none; }\n\
.first { stroke: var(--first); fill: none; stroke-width: 2; }\n\
.second { stroke: var(--second); fill: none; stroke-width: 2; }\n\
text.first { fill: var(--first); stroke: none; }\n\
text.second { fill: var(--second); stroke: none; }\n\
</style>\n";

const CLASSES: [&str; 2] = ["first", "second"];

/// Rotations a second by the number of clients, and the number of transactions that fsync alone
/// allows.
pub struct Throughput {
    pub points: Vec<(u32, f64)>,
    pub floor: f64,
}

/// Writes `storm.svg`: request durations during the storm, by quantile.
pub fn latencies(felt: &Felt, directory: &Path) -> io::Result<()> {
    let shares = [500, 750, 900, 950, 990, 995, 999];
    let names = ["50 %", "75 %", "90 %", "95 %", "99 %", "99.5 %", "99.9 %"];
    let line = |of: &super::clients::Latencies| shares.map(|share| of.millis(share)).to_vec();
    let lines = [("/me", line(&felt.me)), ("/refresh", line(&felt.refresh))];
    let title = "Latency from when due while 50 clients log in without a pause, in ms";
    fs::write(directory.join("storm.svg"), plot(title, &names, &lines))
}

/// Writes `throughput.svg`.
pub fn throughput(throughput: &Throughput, directory: &Path) -> io::Result<()> {
    let plural = |count: u32| format!("{count} client{}", if count == 1 { "" } else { "s" });
    let names: Vec<String> = throughput.points.iter().map(|(count, _)| plural(*count)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rates = throughput.points.iter().map(|(_, rate)| *rate).collect();
    let floor = vec![throughput.floor; names.len()];
    let lines = [("refreshes, each on disk", rates), ("one transaction an fsync", floor)];
    let title = "Durable refreshes a second on SQLite";
    fs::write(directory.join("throughput.svg"), plot(title, &names, &lines))
}

/// The cost of one request in microseconds, by the number of users.
pub struct Costs {
    pub users: Vec<u32>,
    pub logins: Vec<f64>,
    pub refreshes: Vec<f64>,
}

/// Writes `users.svg`: the costs as multiples of those with the fewest users.
pub fn costs(costs: &Costs, directory: &Path) -> io::Result<()> {
    let names: Vec<String> = costs.users.iter().map(|count| format!("{count} users")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let relative = |costs: &[f64]| {
        let first = costs.first().copied().unwrap_or(1.0);
        costs.iter().map(|cost| cost / first).collect::<Vec<_>>()
    };
    let lines = [("a login", relative(&costs.logins)), ("a refresh", relative(&costs.refreshes))];
    let title = "Cost of a request, as a multiple of the cost with the fewest users";
    fs::write(directory.join("users.svg"), plot(title, &names, &lines))
}

/// Lines over labelled positions, from zero up.
fn plot(title: &str, names: &[&str], lines: &[(&str, Vec<f64>)]) -> String {
    let [left, right, top, bottom] = MARGINS;
    let most = lines.iter().flat_map(|(_, values)| values).fold(0.0, |a: f64, b| a.max(*b));
    let step = round_step(most / 4.0);
    let highest = (most / step).ceil() * step;
    let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let x =
        |place: usize| left + (WIDTH - left - right) * (count(place) + 0.5) / count(names.len());
    let y = |value: f64| HEIGHT - bottom - (HEIGHT - top - bottom) * value / highest;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n\
         <title>{title}</title>\n{STYLE}\
         <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n\
         <text x=\"{left}\" y=\"22\" font-weight=\"600\">{title}</text>\n"
    );
    let decimals = usize::from(step < 1.0);
    let mut value = 0.0;
    while value <= highest + step / 2.0 {
        let (at, end) = (y(value), WIDTH - right);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at:.1}H{end}\" class=\"grid\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.decimals$}</text>",
            left - 6.0,
            at + 4.0
        );
        value += step;
    }
    for (place, name) in names.iter().enumerate() {
        let (at, below) = (x(place), HEIGHT - bottom + 16.0);
        let _ =
            writeln!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{name}</text>");
    }
    for (number, ((name, values), class)) in lines.iter().zip(CLASSES).enumerate() {
        let points = values
            .iter()
            .enumerate()
            .map(|(place, value)| format!("{:.1},{:.1}", x(place), y(*value)));
        let points = points.collect::<Vec<_>>().join(" ");
        let (at, below) = (left + 230.0 * count(number), HEIGHT - 8.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" class=\"{class}\"/>\
             <text x=\"{at}\" y=\"{below}\" class=\"{class}\">{name}</text>"
        );
    }
    svg + "</svg>\n"
}

/// 1, 2 or 5 times a power of ten, at least this.
fn round_step(least: f64) -> f64 {
    let power = 10.0_f64.powf(least.max(1e-3).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least)
        .unwrap()
}
