//! The code blocks of the documentation: `README.md` and the pages in `docs`.
//!
//! A test reads a block by `block("docs/page.md", "first line")`. `tests/shape/blocks.rs` finds
//! these calls in the sources, and fails for a block that no test reads.

use std::fs;
use std::path::Path;

/// A fenced block.
pub struct Block {
    /// The line of its opening fence.
    pub line: usize,
    /// Its language, with attributes: `rust,no_run`.
    pub language: String,
    pub text: String,
}

/// The text of a page, by its path from the root of the repository.
#[track_caller]
pub fn text(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// The fenced blocks of a page.
pub fn blocks(markdown: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut is_open = false;
    for (number, line) in (1..).zip(markdown.lines()) {
        match line.strip_prefix("```") {
            Some(_) if is_open => is_open = false,
            Some(language) => {
                found.push(Block { line: number, language: language.into(), text: String::new() });
                is_open = true;
            }
            None => {
                if let Some(block) = found.last_mut().filter(|_| is_open) {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
            }
        }
    }
    found
}

/// The first block of a page that begins with `start`.
#[track_caller]
pub fn block(page: &str, start: &str) -> String {
    let found = blocks(&text(page)).into_iter().find(|block| block.text.starts_with(start));
    let block = found.unwrap_or_else(|| panic!("{page} has no block that begins with {start:?}"));
    assert!(!block.language.is_empty(), "{page}:{}: name the block's language", block.line);
    block.text
}
