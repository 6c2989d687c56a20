//! The pages of the documentation: their lengths, links, pictures and sentences.

use std::collections::BTreeSet;
use std::path::Path;

use super::{assert_none, names, read, root};

/// The most lines of `README.md`, and of any other page.
const README_LINES: usize = 200;
const PAGE_LINES: usize = 250;

/// The most words of a sentence, and the share of sentences that may have more, in percent.
const SENTENCE_WORDS: usize = 25;
const LONG_SENTENCES_PERCENT: usize = 2;

/// No sentence has more.
const LONGEST_SENTENCE: usize = 32;

/// The paths of all pages, from the root.
pub fn documented() -> BTreeSet<String> {
    let folder = names(&root().join("docs")).into_iter().filter(|name| is_markdown(name));
    let folder = folder.map(|name| format!("docs/{name}"));
    let others = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "clients/js/README.md"];
    folder.chain(others.map(String::from)).collect()
}

/// All pages with their texts.
pub fn pages() -> Vec<(String, String)> {
    let read = |page: String| {
        let text = read(&root().join(&page));
        (page, text)
    };
    documented().into_iter().map(read).collect()
}

fn is_markdown(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "md")
}

#[test]
fn no_page_is_too_long() {
    let too_long = |(page, text): (String, String)| {
        let limit = if page == "README.md" { README_LINES } else { PAGE_LINES };
        let lines = text.lines().count();
        (lines > limit).then(|| format!("{page}:{lines}: more than {limit} lines"))
    };
    assert_none(&pages().into_iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let violations: Vec<String> =
        pages().iter().flat_map(|(page, text)| broken_links(page, text)).collect();
    assert_none(&violations);
}

#[test]
fn the_summary_lists_every_page() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let in_folder = documented();
    let in_folder = in_folder.iter().filter_map(|page| page.strip_prefix("docs/"));
    let missing = in_folder
        .filter(|page| *page != "SUMMARY.md" && !summary.contains(&format!("]({page})")))
        .map(|page| format!("docs/SUMMARY.md:1: {page} is missing"));
    assert_none(&missing.collect::<Vec<_>>());
}

#[test]
fn every_picture_has_colours_for_light_and_dark_screens() {
    let pictures = names(&root().join("docs/images"));
    assert!(!pictures.is_empty());
    let bad = pictures.iter().filter(|name| {
        let picture = read(&root().join("docs/images").join(name));
        !picture.contains("prefers-color-scheme: dark") || !picture.contains("viewBox=\"0 0 ")
    });
    assert_none(&bad.map(|name| format!("docs/images/{name}:1: no colours")).collect::<Vec<_>>());
}

#[test]
fn sentences_are_short() {
    let (mut sentences, mut long, mut violations) = (0, Vec::new(), Vec::new());
    for (page, text) in pages() {
        for (line, paragraph) in paragraphs(&text) {
            for sentence in split(&paragraph) {
                sentences += 1;
                let words = sentence.split_whitespace().count();
                let place = format!("{page}:{line}: {words} words: {sentence}");
                if words > LONGEST_SENTENCE {
                    violations.push(place);
                } else if words > SENTENCE_WORDS {
                    long.push(place);
                }
            }
        }
    }
    assert_none(&violations);
    if long.len() * 100 > sentences * LONG_SENTENCES_PERCENT {
        assert_none(&long);
    }
}

/// The links of a page that lead nowhere. Links of `docs` stay inside it, as in the built site.
fn broken_links(page: &str, text: &str) -> Vec<String> {
    let folder = page.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut broken = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = match (path, folder) {
            ("", _) => page.to_owned(),
            (path, "") => path.to_owned(),
            (path, folder) => format!("{folder}/{path}"),
        };
        let file = root().join(&path);
        let leaves = page.starts_with("docs/") && path.contains("..");
        if leaves || !file.is_file() {
            broken.push(format!("{page}:{line}: {target} does not lead to a page"));
        } else if !anchor.is_empty() && !anchors(&read(&file)).contains(anchor) {
            broken.push(format!("{page}:{line}: {target} does not lead to a heading"));
        }
    }
    broken
}

/// The targets of the links of a page, each with its line.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for rest in line.split("](").skip(1) {
            if let Some((target, _)) = rest.split_once(')') {
                found.push((number, target.to_owned()));
            }
        }
    }
    found
}

/// The anchors of the headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).into_iter().filter_map(|(_, line)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.trim().to_lowercase())
    });
    let anchor = |heading: String| {
        let kept =
            heading.chars().filter(|it| it.is_alphanumeric() || matches!(it, ' ' | '-' | '_'));
        kept.map(|it| if it == ' ' { '-' } else { it }).collect()
    };
    headings.map(anchor).collect()
}

/// The lines outside of code blocks and comments, each with its number.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence && !line.starts_with("<!--")
    });
    lines.collect()
}

/// Paragraphs, items and cells of tables, without code spans, each with its first line.
pub fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut previous = None;
    for (number, line) in prose(text) {
        let line = line.trim();
        let numbered = line.split_once(". ").is_some_and(|(n, _)| n.parse::<u32>().is_ok());
        if line.is_empty() || line.starts_with('#') {
            previous = None;
        } else if line.starts_with('|') {
            found.extend(line.split('|').map(|cell| (number, cell.trim().to_owned())));
            previous = None;
        } else if let Some((_, paragraph)) = found
            .last_mut()
            .filter(|_| previous == Some(number - 1) && !line.starts_with("- ") && !numbered)
        {
            paragraph.push(' ');
            paragraph.push_str(line);
            previous = Some(number);
        } else {
            let text = if numbered { line.split_once(". ").map_or(line, |it| it.1) } else { line };
            found.push((number, text.trim_start_matches("- ").to_owned()));
            previous = Some(number);
        }
    }
    for (_, paragraph) in &mut found {
        *paragraph = without_code(paragraph);
    }
    found.retain(|(_, paragraph)| !paragraph.is_empty());
    found
}

/// Replaces code spans by one word.
fn without_code(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect()
}

/// The sentences of a paragraph. The parts around a colon or a semicolon count together.
fn split(paragraph: &str) -> Vec<&str> {
    let ends = paragraph.match_indices(['.', '!', '?']).map(|(at, _)| at + 1);
    let ends = ends.filter(|at| paragraph[*at..].starts_with([' ', '*', ')']));
    let mut found = Vec::new();
    let mut from = 0;
    for end in ends.chain([paragraph.len()]) {
        found.push(paragraph[from..end].trim());
        from = end;
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

#[test]
fn broken_links_and_long_sentences_are_found() {
    let text = "# A b\n\n[a](#a-b) [b](#c) [c](missing.md)\n[d](README.md#quick-start)\n\n```\n[x](y)\n```\n";
    assert_eq!(
        broken_links("CHANGELOG.md", text).len(),
        3,
        "the anchors are those of the real file, and `missing.md` is missing"
    );
    assert_eq!(broken_links("docs/a.md", "[a](../README.md)").len(), 1);
    let text = "One. Two\nthree `four five`.\n\n- six. Seven\n\n| a | b c |\n";
    let found: Vec<String> = paragraphs(text).into_iter().map(|(_, it)| it).collect();
    assert_eq!(found, ["One. Two three code.", "six. Seven", "a", "b c"]);
    assert_eq!(split(&found[0]), ["One.", "Two three code."]);
}
