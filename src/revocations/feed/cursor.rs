//! Cursors into the feed.

use std::fmt;

/// A cursor into the feed. It is valid only for this run of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedCursor {
    pub(super) boot: u64,
    pub(super) number: u64,
}

impl FeedCursor {
    /// Parses the output of [`FeedCursor`]'s `Display`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (boot, number) = text.split_once('.')?;
        let boot = (boot.len() == 16).then(|| u64::from_str_radix(boot, 16).ok())??;
        Some(Self { boot, number: number.parse().ok()? })
    }
}

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}.{}", self.boot, self.number)
    }
}
