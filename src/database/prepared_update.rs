//! Prepared statements that diesel would not cache.

use diesel::QueryResult;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};

use super::{AnyConnection, MultiBackend};

/// An `UPDATE` that is prepared once per connection. Diesel prepares such a statement each time,
/// because its text depends on which columns are set, and there might be any number of texts. This
/// is for updates that set one of a few groups of columns. It saves both databases parsing and
/// planning.
///
/// It works only with a returned row (`get_result`): `execute` passes diesel a reference, which
/// loses this type.
pub struct PreparedUpdate<Q>(pub Q);

impl<Q: QueryFragment<MultiBackend>> QueryFragment<MultiBackend> for PreparedUpdate<Q> {
    fn walk_ast<'b>(&'b self, pass: AstPass<'_, 'b, MultiBackend>) -> QueryResult<()> {
        self.0.walk_ast(pass)
    }

    fn is_safe_to_cache_prepared(&self, _: &MultiBackend) -> QueryResult<bool> {
        Ok(true)
    }
}

/// Identified by its text.
impl<Q> QueryId for PreparedUpdate<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for PreparedUpdate<Q> {
    type SqlType = Q::SqlType;
}

impl<Q> RunQueryDsl<AnyConnection> for PreparedUpdate<Q> {}
