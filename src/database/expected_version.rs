//! Optimistic concurrency between operators.

/// The version that a row must have for a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ExpectedVersion {
    /// Any: the change does not depend on the present state.
    #[default]
    Any,
    /// One of these, as its caller has read it.
    OneOf(Vec<i64>),
}

impl ExpectedVersion {
    /// Whether a row of this version may be changed.
    #[must_use]
    pub fn allows(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(&version),
        }
    }
}
