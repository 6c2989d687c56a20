//! Rows of any of the tables: how they are read, written and added up, by what `schema` says of
//! their columns.

use diesel::backend::Backend;
use diesel::expression::Expression;
use diesel::pg::{Pg, PgValue};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::{Field as _, NamedRow, Row};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Nullable, Text, Untyped};
use diesel::sqlite::{Sqlite, SqliteType, SqliteValue};
use diesel::{RunQueryDsl, deserialize};
use uuid::Uuid;

use crate::database::schema::{audit_events, blocklist, clients, sessions, signing_keys, users};
use crate::database::sql_types::{Id, IdSql};
use crate::database::{AnyConnection, QueryResult};
use crate::secret::sha256;

/// Rows that are read at a time.
const ROWS_PER_PAGE: usize = 2000;

/// Values that one INSERT carries at most: SQLite takes 32,766, PostgreSQL 65,535.
const MAX_BINDS: usize = 16_000;

macro_rules! tables {
    ($($table:ident)+) => { vec![$(Table::of::<$table::table>(stringify!($table)),)+] };
}

/// Every table, those that others refer to first. A table that is not here is not copied, and a
/// test says so.
pub(super) fn tables() -> Vec<Table> {
    tables![users clients sessions blocklist signing_keys audit_events]
}

/// A table and its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub name: &'static str,
    pub columns: Vec<Column>,
    /// The place of the primary key among the columns.
    key: usize,
}

/// A column, and what stands in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub name: &'static str,
    kind: ColumnKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ColumnKind {
    Id,
    Integer,
    Text,
    Bytes,
}

/// What stands in a column; `None` is NULL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Id(Option<Id>),
    Integer(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Table {
    fn of<T>(name: &'static str) -> Self
    where
        T: diesel::Table,
        T::PrimaryKey: diesel::Column,
        T::AllColumns: Columns,
    {
        let columns = T::AllColumns::list();
        let key = <T::PrimaryKey as diesel::Column>::NAME;
        let key = columns.iter().position(|column| column.name == key).unwrap_or_default();
        Self { name, columns, key }
    }

    /// The rows behind this key, in the order of the key; the first ones when there is none.
    pub(super) fn page(
        &self,
        connection: &mut AnyConnection,
        after: Option<&Value>,
    ) -> QueryResult<Vec<Vec<Value>>> {
        let page = PageQuery { table: self, after };
        let rows: Vec<Raw> = match connection {
            AnyConnection::Sqlite(c) => page.load(c)?,
            AnyConnection::Postgres(c) => page.load(c)?,
        };
        let typed = rows.into_iter().map(|row| self.typed(row));
        typed.collect::<Result<_, _>>().map_err(diesel::result::Error::DeserializationError)
    }

    /// The key of a row of this table.
    pub(super) fn key<'a>(&self, row: &'a [Value]) -> Option<&'a Value> {
        row.get(self.key)
    }

    /// Inserts the rows.
    pub(super) fn insert(
        &self,
        connection: &mut AnyConnection,
        rows: &[Vec<Value>],
    ) -> QueryResult<()> {
        for rows in rows.chunks(MAX_BINDS / self.columns.len()) {
            let insert = Insert { table: self, rows };
            match connection {
                AnyConnection::Sqlite(c) => insert.execute(c)?,
                AnyConnection::Postgres(c) => insert.execute(c)?,
            };
        }
        Ok(())
    }

    fn typed(&self, Raw(values): Raw) -> deserialize::Result<Vec<Value>> {
        let typed = values.into_iter().zip(&self.columns).map(|(value, column)| {
            column.typed(value).ok_or_else(|| {
                let found = format!("{}.{} holds a value of another type", self.name, column.name);
                (found + "; run `doorward db check`").into()
            })
        });
        typed.collect()
    }
}

impl Column {
    fn typed(self, value: RawValue) -> Option<Value> {
        Some(match (self.kind, value) {
            (ColumnKind::Id, RawValue::Null) => Value::Id(None),
            (ColumnKind::Id, RawValue::Id(id)) => Value::Id(Some(id)),
            (ColumnKind::Id, RawValue::Text(text)) => {
                Value::Id(Some(Uuid::try_parse(&text).ok().map(Id::from)?))
            }
            (ColumnKind::Integer, RawValue::Null) => Value::Integer(None),
            (ColumnKind::Integer, RawValue::Integer(integer)) => Value::Integer(Some(integer)),
            (ColumnKind::Text, RawValue::Null) => Value::Text(None),
            (ColumnKind::Text, RawValue::Text(text)) => Value::Text(Some(text)),
            (ColumnKind::Bytes, RawValue::Null) => Value::Bytes(None),
            (ColumnKind::Bytes, RawValue::Bytes(bytes)) => Value::Bytes(Some(bytes)),
            _ => return None,
        })
    }
}

/// Rows, counted and added up: equal for equal rows, in whatever order a database's collation
/// brings them.
///
/// Each row is encoded the same way whichever database it comes from and hashed with SHA-256; the
/// hashes are added modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableChecksum {
    /// How many they are.
    pub rows: u64,
    /// The lowest limb first.
    hash: [u64; 4],
}

impl TableChecksum {
    pub(super) fn add(&mut self, row: &[Value]) {
        let mut encoded = Vec::new();
        for value in row {
            value.encode(&mut encoded);
        }
        let digest = sha256(&encoded);
        let mut carry = false;
        for (limb, bytes) in self.hash.iter_mut().zip(digest.as_chunks().0) {
            let (sum, once) = limb.overflowing_add(u64::from_be_bytes(*bytes));
            let (sum, twice) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, once || twice);
        }
        self.rows += 1;
    }

    /// A quarter of the sum, for people to compare.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{:016x}", self.hash[3])
    }
}

impl Value {
    /// Kind, length and content, so that no two rows have one encoding.
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u8, bytes: Option<&[u8]>| match bytes {
            None => out.push(0),
            Some(bytes) => {
                out.push(kind);
                out.extend((bytes.len() as u64).to_be_bytes());
                out.extend(bytes);
            }
        };
        match self {
            Self::Id(id) => {
                let bytes = id.map(|id| id.uuid().into_bytes());
                put(1, bytes.as_ref().map(<[u8; 16]>::as_slice));
            }
            Self::Integer(i) => put(2, i.map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice)),
            Self::Text(text) => put(3, text.as_ref().map(String::as_bytes)),
            Self::Bytes(bytes) => put(4, bytes.as_deref()),
        }
    }
}

impl<DB> QueryFragment<DB> for Value
where
    DB: Backend + HasSqlType<IdSql>,
    Option<Id>: ToSql<Nullable<IdSql>, DB>,
    Option<i64>: ToSql<Nullable<BigInt>, DB>,
    Option<String>: ToSql<Nullable<Text>, DB>,
    Option<Vec<u8>>: ToSql<Nullable<Binary>, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self {
            Self::Id(id) => out.push_bind_param::<Nullable<IdSql>, _>(id),
            Self::Integer(integer) => out.push_bind_param::<Nullable<BigInt>, _>(integer),
            Self::Text(text) => out.push_bind_param::<Nullable<Text>, _>(text),
            Self::Bytes(bytes) => out.push_bind_param::<Nullable<Binary>, _>(bytes),
        }
    }
}

/// `SELECT … WHERE key > after ORDER BY key LIMIT …`
struct PageQuery<'a> {
    table: &'a Table,
    after: Option<&'a Value>,
}

impl<DB: Backend> QueryFragment<DB> for PageQuery<'_>
where
    Value: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let key = self.table.columns[self.table.key].name;
        out.push_sql("SELECT ");
        list(&mut out, &self.table.columns, |out, column| out.push_identifier(column.name))?;
        out.push_sql(" FROM ");
        out.push_identifier(self.table.name)?;
        if let Some(after) = self.after {
            out.push_sql(" WHERE ");
            out.push_identifier(key)?;
            out.push_sql(" > ");
            after.walk_ast(out.reborrow())?;
        }
        out.push_sql(" ORDER BY ");
        out.push_identifier(key)?;
        out.push_sql(&format!(" LIMIT {ROWS_PER_PAGE}"));
        Ok(())
    }
}

/// `INSERT INTO table (…) VALUES (…), (…)…`
struct Insert<'a> {
    table: &'a Table,
    rows: &'a [Vec<Value>],
}

impl<DB: Backend> QueryFragment<DB> for Insert<'_>
where
    Value: QueryFragment<DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("INSERT INTO ");
        out.push_identifier(self.table.name)?;
        out.push_sql(" (");
        list(&mut out, &self.table.columns, |out, column| out.push_identifier(column.name))?;
        out.push_sql(") VALUES ");
        list(&mut out, self.rows, |out, row| {
            out.push_sql("(");
            list(out, row, |out, value| value.walk_ast(out.reborrow()))?;
            out.push_sql(")");
            Ok(())
        })
    }
}

fn list<'b, T, DB: Backend>(
    out: &mut AstPass<'_, 'b, DB>,
    items: &'b [T],
    push: impl Fn(&mut AstPass<'_, 'b, DB>, &'b T) -> QueryResult<()>,
) -> QueryResult<()> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_sql(", ");
        }
        push(out, item)?;
    }
    Ok(())
}

impl Query for PageQuery<'_> {
    type SqlType = Untyped;
}

// Their text depends on their contents, so the prepared statements are found by it.
impl QueryId for PageQuery<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl QueryId for Insert<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
impl<C: Connection> RunQueryDsl<C> for PageQuery<'_> {}
impl<C: Connection> RunQueryDsl<C> for Insert<'_> {}

/// A row as a database gives it, before anybody says what its columns are.
struct Raw(Vec<RawValue>);

enum RawValue {
    Null,
    Id(Id),
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

trait ReadValue: Backend {
    fn read(value: Self::RawValue<'_>) -> deserialize::Result<RawValue>;
}

impl<DB: ReadValue> QueryableByName<DB> for Raw {
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let fields = (0..row.field_count()).filter_map(|index| Row::get(row, index));
        let values = fields.map(|field| field.value().map_or(Ok(RawValue::Null), DB::read));
        values.collect::<Result<_, _>>().map(Self)
    }
}

impl ReadValue for Sqlite {
    fn read(value: SqliteValue<'_, '_, '_>) -> deserialize::Result<RawValue> {
        use deserialize::FromSql;
        Ok(match value.value_type() {
            None => RawValue::Null,
            Some(SqliteType::Long | SqliteType::Integer | SqliteType::SmallInt) => {
                RawValue::Integer(FromSql::<BigInt, Self>::from_sql(value)?)
            }
            Some(SqliteType::Text) => RawValue::Text(FromSql::<Text, Self>::from_sql(value)?),
            Some(SqliteType::Binary) => RawValue::Bytes(FromSql::<Binary, Self>::from_sql(value)?),
            Some(other) => return Err(format!("a value of type {other:?}").into()),
        })
    }
}

impl ReadValue for Pg {
    fn read(value: PgValue<'_>) -> deserialize::Result<RawValue> {
        use deserialize::FromSql;
        // The numbers that PostgreSQL's catalogue gives its own types, for good.
        Ok(match value.get_oid().get() {
            17 => RawValue::Bytes(FromSql::<Binary, Self>::from_sql(value)?),
            20 => RawValue::Integer(FromSql::<BigInt, Self>::from_sql(value)?),
            25 => RawValue::Text(FromSql::<Text, Self>::from_sql(value)?),
            2950 => RawValue::Id(FromSql::<IdSql, Self>::from_sql(value)?),
            other => return Err(format!("a value of type {other}").into()),
        })
    }
}

trait HasColumnKind {
    const KIND: ColumnKind;
}

impl HasColumnKind for IdSql {
    const KIND: ColumnKind = ColumnKind::Id;
}
impl HasColumnKind for BigInt {
    const KIND: ColumnKind = ColumnKind::Integer;
}
impl HasColumnKind for Text {
    const KIND: ColumnKind = ColumnKind::Text;
}
impl HasColumnKind for Binary {
    const KIND: ColumnKind = ColumnKind::Bytes;
}
impl<T: HasColumnKind> HasColumnKind for Nullable<T> {
    const KIND: ColumnKind = T::KIND;
}

/// A tuple of columns, as the schema has one for each table.
trait Columns {
    fn list() -> Vec<Column>;
}

macro_rules! tuples {
    ($first:ident $($rest:ident)*) => {
        impl<$first, $($rest,)*> Columns for ($first, $($rest,)*)
        where
            $first: diesel::Column + Expression<SqlType: HasColumnKind>,
            $($rest: diesel::Column + Expression<SqlType: HasColumnKind>,)*
        {
            fn list() -> Vec<Column> {
                vec![
                    Column { name: $first::NAME, kind: <$first as Expression>::SqlType::KIND },
                    $(Column { name: $rest::NAME, kind: <$rest as Expression>::SqlType::KIND },)*
                ]
            }
        }
        tuples!($($rest)*);
    };
    () => {};
}

// As many as a table may have with diesel's feature "32-column-tables".
tuples!(C0 C1 C2 C3 C4 C5 C6 C7 C8 C9 C10 C11 C12 C13 C14 C15 C16 C17 C18 C19 C20 C21 C22 C23 C24
        C25 C26 C27 C28 C29 C30 C31);
