//! The lengths of the test files: each has one subject.

use super::{assert_none, collect, root};

/// No test file is longer.
const MAX_LINES: usize = 400;

/// Half of the test files are no longer than this.
const MEDIAN: usize = 150;

/// Every test file with its number of lines.
fn lengths() -> Vec<(String, usize)> {
    let mut files = Vec::new();
    collect(&root(), "tests", &mut files);
    collect(&root(), "crates/doorward-verifier/tests", &mut files);
    files.into_iter().map(|(path, text)| (path, text.lines().count())).collect()
}

#[test]
fn no_test_file_is_too_long() {
    let too_long = |(path, lines): (String, usize)| {
        (lines > MAX_LINES).then(|| format!("{path}:{lines}: more than {MAX_LINES} lines"))
    };
    assert_none(&lengths().into_iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn half_of_the_test_files_are_short() {
    let mut lines: Vec<usize> = lengths().into_iter().map(|(_, lines)| lines).collect();
    lines.sort_unstable();
    let median = lines[lines.len() / 2];
    assert!(median <= MEDIAN, "half of the test files have more than {median} lines");
}
