//! A [`Timestamp`] in a database column: a `BIGINT` with its microseconds (feature `diesel`).
//!
//! It is here and not in the server, because Rust allows an implementation of a foreign trait only
//! in the crate of the type.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, Queryable};
use diesel::expression::AsExpression;
use diesel::sql_types::{BigInt, Nullable};

use super::Timestamp;

impl AsExpression<BigInt> for Timestamp {
    type Expression = <i64 as AsExpression<BigInt>>::Expression;

    fn as_expression(self) -> Self::Expression {
        AsExpression::<BigInt>::as_expression(self.as_micros())
    }
}

impl AsExpression<BigInt> for &Timestamp {
    type Expression = <i64 as AsExpression<BigInt>>::Expression;

    fn as_expression(self) -> Self::Expression {
        AsExpression::<BigInt>::as_expression(*self)
    }
}

impl AsExpression<Nullable<BigInt>> for Timestamp {
    type Expression = <i64 as AsExpression<Nullable<BigInt>>>::Expression;

    fn as_expression(self) -> Self::Expression {
        AsExpression::<Nullable<BigInt>>::as_expression(self.as_micros())
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Timestamp
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(value: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(value).map(Self::from_micros)
    }
}

impl<DB: Backend> Queryable<BigInt, DB> for Timestamp
where
    Self: FromSql<BigInt, DB>,
{
    type Row = Self;

    fn build(row: Self) -> deserialize::Result<Self> {
        Ok(row)
    }
}
