//! Statements that a connection keeps prepared although diesel would not.

use diesel::QueryResult;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

use super::{AnyConnection, MultiBackend};

/// An `UPDATE` that is prepared once a connection. Diesel prepares every one anew, for its text
/// depends on which columns are set, and there might be any number of texts. This is for those that
/// set one of a few groups of columns. It saves both databases the parser and the planner.
///
/// Only with what the statement returns (`get_result`): `execute` hands diesel a reference, which
/// forgets what this says.
pub struct PreparedUpdate<Q>(pub Q);

impl<Q: QueryFragment<MultiBackend>> QueryFragment<MultiBackend> for PreparedUpdate<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &MultiBackend) -> QueryResult<bool> {
        Ok(true)
    }
}

/// Known by its text.
impl<Q> QueryId for PreparedUpdate<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for PreparedUpdate<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<AnyConnection> for PreparedUpdate<Q> {}
