//! The table of guarantees in `README.md` names tests that exist.

use super::{assert_none, collect, read, root};

/// The head of the table.
const HEAD: &str = "| guarantee | test |";

/// Each command of the table that selects no test.
fn commands_without_a_test(readme: &str, tests: &[(String, String)]) -> Vec<String> {
    let rows = readme.lines().skip_while(|line| *line != HEAD);
    let rows = rows.take_while(|line| line.starts_with('|'));
    let mut missing = Vec::new();
    // The test program that `…` stands for.
    let mut program = None;
    for code in rows.flat_map(|row| row.rsplit('|').nth(1).unwrap_or_default().split('`')) {
        let words: Vec<&str> = code.split_whitespace().collect();
        if words.contains(&"cargo") {
            let at = words.iter().position(|word| *word == "--test");
            program = at.and_then(|at| words.get(at + 1).copied());
        } else if words.first() != Some(&"…") {
            continue;
        }
        let filter = words.last().copied().unwrap_or_default();
        let is_selected = |(of, name): &(String, String)| {
            program.is_none_or(|program| program == of) && name.contains(filter)
        };
        if !tests.iter().any(is_selected) {
            missing.push(format!("README.md:1: `{code}` selects no test"));
        }
    }
    missing
}

/// Every test with its program, which is the crate's name for those in `src`.
fn all_tests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["src", "tests"] {
        let mut files = Vec::new();
        collect(&root(), folder, &mut files);
        for (path, text) in files {
            let path = path.trim_end_matches(".rs").replace("/main", "");
            let parts: Vec<&str> = path.split('/').collect();
            let (program, module) = match &parts[..] {
                ["tests", program, module @ ..] => (*program, module.join("::")),
                module => ("doorward", module.join("::")),
            };
            let mut lines = text.lines();
            while let Some(line) = lines.next() {
                if line.trim().starts_with("#[test]") || line.contains("::test") {
                    let name =
                        lines.find_map(|line| line.trim().split_once("fn ")?.1.split('(').next());
                    found
                        .extend(name.map(|name| (program.to_owned(), format!("{module}::{name}"))));
                }
            }
        }
    }
    found
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let readme = read(&root().join("README.md"));
    assert!(readme.contains(HEAD), "the table has another head");
    assert_none(&commands_without_a_test(&readme, &all_tests()));
}

#[test]
fn a_command_without_a_test_is_found() {
    let tests = [("api".to_owned(), "once::storm::it_rains".to_owned())];
    let table = "| guarantee | test |\n| --- | --- |\n\
                 | a | `cargo test --test api storm`, `… rain`, `… snow` |\n\
                 | b | `A=1 cargo test --release --test nodes storm` |\n";
    assert_eq!(
        commands_without_a_test(table, &tests),
        [
            "README.md:1: `… snow` selects no test",
            "README.md:1: `A=1 cargo test --release --test nodes storm` selects no test",
        ]
    );
    assert_eq!(commands_without_a_test("| guarantee |", &tests), [""; 0]);
}
