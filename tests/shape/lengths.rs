//! The lengths of the files: each has one subject.

use super::{assert_none, collect, root, scripts};

/// No file is longer.
const MAX_LINES: usize = 400;

/// Half of the files are no longer than this.
const MEDIAN: usize = 150;

/// Every Rust file below `folder`, and of `clients` every script, with its number of lines.
fn lengths(folder: &str) -> Vec<(String, usize)> {
    let mut files = Vec::new();
    if folder == "clients" {
        files = scripts();
    } else {
        collect(&root(), folder, &mut files);
    }
    files.into_iter().map(|(path, text)| (path, text.lines().count())).collect()
}

#[test]
fn no_file_is_too_long() {
    let too_long = |(path, lines): (String, usize)| {
        (lines > MAX_LINES)
            .then(|| format!("{path}:{lines}: more than {MAX_LINES} lines; split it"))
    };
    let files = ["src", "crates", "tests", "benches", "clients"].into_iter().flat_map(lengths);
    assert_none(&files.filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn half_of_the_files_are_short() {
    for folder in ["src", "crates", "tests", "clients"] {
        let mut lines: Vec<usize> = lengths(folder).into_iter().map(|(_, lines)| lines).collect();
        lines.sort_unstable();
        let median = lines[lines.len() / 2];
        assert!(median <= MEDIAN, "{folder}: half of the files have more than {median} lines");
    }
}
