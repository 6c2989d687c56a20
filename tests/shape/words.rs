//! The vocabulary of comments, texts, `openapi.yaml` and the documentation: a few constructions
//! that hide the actor or the action are errors, each with its replacement.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{Group, TokenStream, TokenTree};

use super::pages::{self, pages};
use super::{assert_none, collect, read, root, scripts};

/// Words and phrases in any text, and the remedy. This file is exempt.
const AVOID: &[(&[&str], &str)] = &[
    (&["whoever", "whomever"], "name the actor"),
    (&["heed", "heeds", "heeded", "unheeded"], "use apply, check or ignore"),
    (&["believe", "believes", "believed", "believing"], "use verify, accept or trust"),
    (&["take back", "takes back", "taken back", "took back", "taking back"], "use revoke or clear"),
    (
        &["give up", "gives up", "given up", "gave up", "giving up"],
        "use revoke, abandon or time out",
    ),
    (&["look after", "looks after", "looked after", "looking after"], "use maintain"),
    (&["letter by letter"], "use `byte for byte` or `exactly`"),
    (&["is no", "are no", "was no", "were no"], "use `is not a`"),
];

/// No sentence of a comment begins with these.
const BEGINNINGS: &[&str] = &["What", "Whoever", "Whatever", "Where"];

/// `there is no` and `is no longer` are plain English.
const BEFORE_NO: &str = "there";
const AFTER_NO: [&str; 2] = ["longer", "more"];

#[test]
fn texts_use_plain_terms() {
    let mut files = Vec::new();
    for folder in ["src", "crates", "tests", "benches", "examples"] {
        if root().join(folder).is_dir() {
            collect(&root(), folder, &mut files);
        }
    }
    assert!(files.len() > 1, "no sources were read");
    let own = Path::new(file!()).file_name();
    let mut violations: Vec<String> = files
        .iter()
        .filter(|(path, _)| Path::new(path).file_name() != own)
        .flat_map(|(path, text)| of_rust(path, text))
        .collect();
    violations.extend(of_yaml("openapi.yaml", &read(&root().join("openapi.yaml"))));
    violations.extend(scripts().iter().flat_map(|(path, text)| of_script(path, text)));
    violations.extend(pages().iter().flat_map(|(page, text)| of_markdown(page, text)));
    assert_none(&violations);
}

/// The violations in a page of the documentation, outside of code.
fn of_markdown(path: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (line, paragraph) in pages::paragraphs(text) {
        found.extend(avoided(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
        found.extend(beginnings(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    found
}

/// The violations in the comments and string literals of a Rust file.
fn of_rust(path: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (line, paragraph) in paragraphs(text.lines().map(comment)) {
        found.extend(avoided(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
        found.extend(beginnings(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    let stream: TokenStream =
        text.parse().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
    let mut literals = Vec::new();
    strings(stream, &mut literals);
    for (line, literal) in literals {
        found.extend(avoided(&literal).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    found
}

/// The violations in a script: in its comments, and in the words of its lines.
fn of_script(path: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (line, paragraph) in paragraphs(text.lines().map(script_comment)) {
        found.extend(avoided(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
        found.extend(beginnings(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    for (line, code) in (1..).zip(text.lines()) {
        found.extend(avoided(code).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    found
}

/// The violations in a YAML file.
fn of_yaml(path: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (line, paragraph) in paragraphs(text.lines().map(yaml_line)) {
        found.extend(avoided(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
        found.extend(beginnings(&paragraph).into_iter().map(|it| format!("{path}:{line}: {it}")));
    }
    found
}

/// A line's part of a paragraph.
enum Line<'a> {
    /// It belongs to none.
    Other,
    /// It begins one.
    First(&'a str),
    /// It continues the one before, if there is one.
    Next(&'a str),
}

/// The text of a comment line.
fn comment(line: &str) -> Line<'_> {
    let Some(text) = line.trim_start().strip_prefix("//") else {
        return Line::Other;
    };
    match text.trim_start_matches(['/', '!']).trim() {
        "" => Line::Other,
        text if text.starts_with(['-', '*', '#', '|']) => Line::First(text),
        text => Line::Next(text),
    }
}

/// The text of a comment line of a script, of either kind.
fn script_comment(line: &str) -> Line<'_> {
    let line = line.trim();
    let text = line.strip_prefix("/**").or_else(|| line.strip_prefix("* "));
    match text.map(|text| text.trim_end_matches("*/").trim()) {
        Some("") => Line::Other,
        Some(text) => Line::Next(text),
        None => comment(line),
    }
}

/// The text of a YAML line: a value, or a line of a block.
fn yaml_line(line: &str) -> Line<'_> {
    let text = line.trim_start_matches([' ', '#']).trim_start_matches("- ").trim();
    match text.split_once(": ") {
        _ if text.is_empty() || text.ends_with([':', '|']) || text.ends_with(">-") => Line::Other,
        Some((key, value)) if !key.contains(' ') => Line::First(value),
        _ if line.trim_start().starts_with(['-', '|', '#']) => Line::First(text),
        _ => Line::Next(text),
    }
}

/// The paragraphs, each with the number of its first line.
fn paragraphs<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (number, line) in (1..).zip(lines) {
        match (line, found.last_mut()) {
            (Line::Other, _) => is_open = false,
            (Line::Next(text), Some((_, paragraph))) if is_open => {
                paragraph.push(' ');
                paragraph.push_str(text);
            }
            (Line::First(text) | Line::Next(text), _) => {
                found.push((number, text.to_owned()));
                is_open = true;
            }
        }
    }
    found
}

/// The phrases of [`AVOID`] in a text.
fn avoided(text: &str) -> Vec<String> {
    let words = words(text);
    let mut found = Vec::new();
    for (phrases, remedy) in AVOID {
        for phrase in *phrases {
            let parts: Vec<&str> = phrase.split(' ').collect();
            let is_there = words.windows(parts.len()).enumerate().any(|(at, window)| {
                window.iter().eq(parts.iter())
                    && !(parts.last() == Some(&"no") && is_plain(&words, at, at + parts.len()))
            });
            if is_there {
                found.push(format!("`{phrase}`: {remedy}"));
            }
        }
    }
    found
}

/// Whether "is no" between these indices is an ordinary one.
fn is_plain(words: &[String], from: usize, to: usize) -> bool {
    from.checked_sub(1).and_then(|at| words.get(at)).is_some_and(|word| word == BEFORE_NO)
        || words.get(to).is_some_and(|word| AFTER_NO.contains(&word.as_str()))
}

/// The words in lower case; punctuation is a word of its own, which ends a phrase.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    for character in text.chars().chain([' ']) {
        if character.is_alphanumeric() || matches!(character, '_' | '\'') {
            word.extend(character.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if !character.is_whitespace() && character != '\\' {
            found.push(character.to_string());
        }
    }
    found
}

/// The sentences of a paragraph that begin with one of [`BEGINNINGS`].
fn beginnings(paragraph: &str) -> Vec<String> {
    let starts = paragraph.match_indices(['.', '!', '?']).map(|(at, _)| at + 1);
    let sentences = [0].into_iter().chain(starts).filter_map(|at| paragraph.get(at..));
    sentences
        .filter(|rest| rest.starts_with([' ', '-', '*']) || rest.len() == paragraph.len())
        .filter_map(|rest| rest.trim_start_matches([' ', '-', '*']).split_whitespace().next())
        .filter(|word| BEGINNINGS.contains(word))
        .map(|word| format!("a sentence begins with `{word}`: name the thing itself"))
        .collect()
}

/// The literals of a token stream, each with its line.
fn strings(stream: TokenStream, found: &mut Vec<(usize, String)>) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) if is_doc(&group) => {}
            TokenTree::Group(group) => strings(group.stream(), found),
            TokenTree::Literal(literal) if literal.to_string().contains('"') => {
                found.push((literal.span().start().line, literal.to_string()));
            }
            _ => {}
        }
    }
}

/// Whether this is the attribute of a doc comment, which is read as a comment.
fn is_doc(group: &Group) -> bool {
    matches!(group.stream().into_iter().next(), Some(TokenTree::Ident(name)) if name == "doc")
}

#[test]
fn phrases_are_found_across_lines_and_in_literals() {
    let text = "/// Ends when the caller gives\n/// up.\nconst A: &str = \"it is no scope\";\n";
    let found: Vec<String> = of_rust("src/a.rs", text).into_iter().collect();
    assert_eq!(
        found,
        [
            "src/a.rs:1: `gives up`: use revoke, abandon or time out",
            "src/a.rs:3: `is no`: use `is not a`",
        ]
    );
    let yaml = "a:\n  description: >-\n    Kept. What\n    is kept.\n  summary: Whatever it is\n";
    assert_eq!(of_yaml("a.yaml", yaml).len(), 2);
    let script = "/** Ends when the caller gives\n * up. */\nf('it is no scope'); // plain\n";
    assert_eq!(of_script("a.ts", script).len(), 2);
    let page = "# What\n\nIt gives\nup. Where it is.\n\n```\nit gives up\n```\n\n| whoever | `whoever` |\n";
    assert_eq!(of_markdown("a.md", page).len(), 3);
}

#[test]
fn plain_sentences_pass() {
    for text in [
        "/// There is no such key, and it is no longer published.",
        "/// Says what is wrong.",
        "// The value is. No other exists; look, after all.",
        "fn give_up() { believe(1) }",
    ] {
        assert!(of_rust("src/a.rs", text).is_empty(), "{text}");
    }
}
