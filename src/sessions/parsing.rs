//! Parsing the refresh tokens of a request. Their tags are verified; the database is not asked.

use std::cmp::Reverse;

use super::Sessions;
use crate::refresh_token::{Malformed, RefreshToken};

/// The maximum number of sessions that one login replaces: a browser has one, and leftovers of late
/// responses.
const MAX_REPLACED: usize = 16;

impl Sessions {
    /// Parses a refresh token and verifies its tag; the database is not asked.
    ///
    /// # Errors
    /// [`Malformed`] for everything else.
    pub fn parse_token(&self, text: &str) -> Result<RefreshToken, Malformed> {
        self.tags.decode(text)
    }

    /// Parses the newest of several refresh tokens: of the session that began last, the one with
    /// the highest generation. Malformed ones are ignored.
    ///
    /// # Errors
    /// [`Malformed`] when none of them is valid.
    pub fn parse_newest(&self, texts: &[&str]) -> Result<RefreshToken, Malformed> {
        let tokens = texts.iter().filter_map(|text| self.parse_token(text).ok());
        // A session's id begins with the time of its creation.
        tokens.max_by_key(|token| (token.session, token.generation)).ok_or(Malformed)
    }

    /// Parses several refresh tokens and returns those with valid tags, one per session, the newest
    /// first, at most as many as a login may replace.
    #[must_use]
    pub fn parse_all(&self, texts: &[&str]) -> Vec<RefreshToken> {
        let mut tokens: Vec<_> =
            texts.iter().filter_map(|text| self.parse_token(text).ok()).collect();
        tokens.sort_by_key(|token| Reverse((token.session, token.generation)));
        tokens.dedup_by_key(|token| token.session);
        tokens.truncate(MAX_REPLACED);
        tokens
    }
}
