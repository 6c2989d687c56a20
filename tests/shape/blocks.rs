//! Every code block of the documentation is read by a test.
//!
//! A test that calls `block("docs/page.md", "first line")` claims the first block of the page that
//! begins so. A page that a crate includes in its documentation claims its Rust blocks, because
//! `cargo test` compiles them.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::pages::{documented, pages};
use super::{assert_none, collect, read, root};

#[path = "../support/docs.rs"]
#[expect(dead_code, reason = "other tests use more of it")]
mod docs;

use docs::{Block, blocks};

/// The page and the beginning of a block that a test reads.
type Claim = (String, String);

#[test]
fn a_test_reads_every_code_block() {
    let mut claims = BTreeSet::new();
    let mut files = Vec::new();
    collect(&root(), "tests", &mut files);
    collect(&root(), "crates", &mut files);
    for (path, text) in files {
        let stream: TokenStream =
            text.parse().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        calls(&stream, &mut claims);
    }
    let compiled = read(&root().join("crates/doorward-verifier/src/lib.rs"));
    let is_compiled = |page: &str| compiled.contains(&format!("include_str!(\"../../../{page}\")"));
    let mut violations = Vec::new();
    for (page, text) in pages() {
        let claims = claims.iter().filter(|(of, _)| *of == page).map(|(_, start)| start.as_str());
        violations.extend(unread(&page, &blocks(&text), claims, is_compiled(&page)));
    }
    let known = documented();
    let lost = claims.iter().filter(|(page, _)| !known.contains(page));
    violations
        .extend(lost.map(|(page, _)| format!("{page}:1: a test reads it, but it is missing")));
    assert_none(&violations);
}

/// The blocks that no claim selects, and the claims that select none.
fn unread<'a>(
    page: &str,
    blocks: &[Block],
    claims: impl Iterator<Item = &'a str>,
    is_compiled: bool,
) -> Vec<String> {
    let mut violations = Vec::new();
    let mut read = BTreeSet::new();
    for start in claims {
        match blocks.iter().position(|block| block.text.starts_with(start)) {
            Some(at) => drop(read.insert(at)),
            None => violations.push(format!("{page}:1: no block begins with {start:?}")),
        }
    }
    for (at, block) in blocks.iter().enumerate() {
        let is_doctest = is_compiled && block.language.starts_with("rust");
        if !read.contains(&at) && !is_doctest {
            violations.push(format!("{page}:{}: no test reads this block", block.line));
        }
    }
    violations
}

/// The calls of `block` with two string literals.
fn calls(stream: &TokenStream, found: &mut BTreeSet<Claim>) {
    let mut is_block = false;
    for tree in stream.clone() {
        if let TokenTree::Group(group) = &tree {
            if is_block && group.delimiter() == Delimiter::Parenthesis {
                found.extend(literals(group.stream()));
            }
            calls(&group.stream(), found);
        }
        is_block = matches!(&tree, TokenTree::Ident(name) if name == "block");
    }
}

fn literals(arguments: TokenStream) -> Option<Claim> {
    let mut arguments = arguments.into_iter();
    let (page, _, start) = (arguments.next()?, arguments.next()?, arguments.next()?);
    Some((string(&page)?, string(&start)?))
}

fn string(tree: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = tree else { return None };
    let text = literal.to_string();
    let text = text.strip_prefix('"')?.strip_suffix('"')?;
    Some(text.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[test]
fn a_block_without_a_test_is_found() {
    let page = "text\n\n```sh\na\nb\n```\n\n```rust,no_run\nfn f() {}\n```\n";
    let blocks = blocks(page);
    let all = |claims: &[&'static str], is_compiled| {
        unread("a.md", &blocks, claims.iter().copied(), is_compiled)
    };
    assert_eq!(all(&["a\n"], true), [""; 0]);
    assert_eq!(all(&["a"], false), ["a.md:8: no test reads this block"]);
    assert_eq!(
        all(&["c"], true),
        ["a.md:1: no block begins with \"c\"", "a.md:3: no test reads this block"]
    );
    let source =
        "fn f() { docs::block(\"a.md\", \"a\\n\"); place.block(\"b.md\", \"c\"); block(x) }";
    let mut found = BTreeSet::new();
    calls(&source.parse().unwrap(), &mut found);
    let claim = |page: &str, start: &str| (page.to_owned(), start.to_owned());
    assert_eq!(found, BTreeSet::from([claim("a.md", "a\n"), claim("b.md", "c")]));
}
