//! The paths that a Rust file uses, read from its tokens.

use std::iter::Peekable;
use std::slice::Iter;

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A path in the source.
#[derive(Debug, PartialEq)]
pub(super) struct Used {
    pub line: usize,
    /// The inline modules around it.
    pub inline: Vec<String>,
    pub names: Vec<String>,
}

/// Every path of a file: those of its `use` lines, expanded, and those in code.
pub(super) fn paths(text: &str) -> Vec<Used> {
    let tokens = tokens(text);
    let mut rest = tokens.iter().peekable();
    let mut found = Vec::new();
    let mut depth = 0;
    // The inline modules, each with the depth of its braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    while let Some(token) = rest.next() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                inline.retain(|(_, opened)| *opened < depth);
                depth = depth.saturating_sub(1);
            }
            "mod" => {
                let name = rest.next().map(|name| name.text.clone()).unwrap_or_default();
                if rest.next_if(|next| next.text == "{").is_some() {
                    depth += 1;
                    inline.push((name, depth));
                }
            }
            text if text == "use" || is_name(text) => {
                let mut paths = Vec::new();
                if text == "use" {
                    rest.next_if(|next| next.text == "::");
                    use_tree(&mut rest, &[], &mut paths);
                } else {
                    paths.push((token.line, path_from(token, &mut rest)));
                }
                let inline: Vec<String> = inline.iter().map(|(name, _)| name.clone()).collect();
                // A single name is a variable, a keyword, or something imported by another path.
                let several =
                    paths.into_iter().filter(|(_, names)| text == "use" || names.len() > 1);
                found.extend(several.map(|(line, names)| Used {
                    line,
                    inline: inline.clone(),
                    names,
                }));
            }
            _ => {}
        }
    }
    found
}

/// `a::b::c`, after its first name.
fn path_from(first: &Token, rest: &mut Peekable<Iter<'_, Token>>) -> Vec<String> {
    let mut names = vec![first.text.clone()];
    while rest.peek().is_some_and(|next| next.text == "::") {
        rest.next();
        match rest.next_if(|next| is_name(&next.text)) {
            Some(name) => names.push(name.text.clone()),
            None => break,
        }
    }
    names
}

/// `a::{b, c::*}` is `a::b` and `a::c::*`.
fn use_tree(
    rest: &mut Peekable<Iter<'_, Token>>,
    before: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) {
    let mut names = before.to_vec();
    while let Some(token) = rest.next() {
        match token.text.as_str() {
            "::" => continue,
            "{" => {
                while rest.next_if(|next| next.text == "}").is_none() && rest.peek().is_some() {
                    use_tree(rest, &names, found);
                    rest.next_if(|next| next.text == ",");
                }
                return;
            }
            // At the end of a tree, `self` is the module in front of it.
            "self" if !before.is_empty() => {}
            name => names.push(name.to_owned()),
        }
        if rest.next_if(|next| next.text == "as").is_some() {
            rest.next();
        }
        if rest.peek().is_none_or(|next| next.text != "::") {
            found.push((token.line, names));
            return;
        }
    }
}

#[derive(Debug)]
struct Token {
    line: usize,
    text: String,
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and brackets, without comments, strings and characters.
fn tokens(text: &str) -> Vec<Token> {
    let stream: TokenStream =
        text.parse().unwrap_or_else(|error| panic!("not Rust: {error}:\n{text}"));
    let mut found = Vec::new();
    flatten(stream, &mut found);
    found
}

fn flatten(stream: TokenStream, found: &mut Vec<Token>) {
    let mut trees = stream.into_iter();
    while let Some(tree) = trees.next() {
        let line = tree.span().start().line;
        let text = match &tree {
            TokenTree::Ident(name) => name.to_string().trim_start_matches("r#").to_owned(),
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                trees.next();
                "::".to_owned()
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => "{".to_owned(),
            TokenTree::Punct(sign) => sign.to_string(),
            TokenTree::Group(_) | TokenTree::Literal(_) => ";".to_owned(),
        };
        found.push(Token { line, text });
        if let TokenTree::Group(group) = tree {
            flatten(group.stream(), found);
            let end = if group.delimiter() == Delimiter::Brace { "}" } else { ";" };
            found.push(Token { line: group.span_close().start().line, text: end.to_owned() });
        }
    }
}
