use diesel::sql_types::Text;

use super::*;
use crate::database::connection::Manager;

fn migrated() -> (tempfile::TempDir, AnyConnection) {
    let directory = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite(directory.path().join("doorward.db"));
    crate::database::migrate(&url).unwrap();
    (directory, Manager::without_timeouts(&url).connect_existing().unwrap())
}

fn names(connection: &mut AnyConnection, query: &str) -> Vec<String> {
    let mut names: Vec<String> = sql::<Text>(query).load(connection).unwrap();
    names.sort();
    names
}

#[test]
fn every_table_and_every_column_is_copied() {
    let (_directory, mut connection) = migrated();
    let query = "SELECT name FROM sqlite_master WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_\\_diesel%' ESCAPE '\\'";
    let mut listed: Vec<String> = TABLES.iter().map(|table| table.name.into()).collect();
    listed.sort();
    assert_eq!(names(&mut connection, query), listed);
    for table in TABLES {
        let query = format!("SELECT name FROM pragma_table_info('{}')", table.name);
        let mut listed: Vec<String> = table.columns.iter().map(|&name| name.into()).collect();
        listed.sort();
        assert_eq!(names(&mut connection, &query), listed, "{}", table.name);
    }
}

#[test]
fn tables_are_listed_after_those_that_they_reference() {
    let (_directory, mut connection) = migrated();
    let mut before: Vec<&str> = Vec::new();
    for table in TABLES {
        let query =
            format!("SELECT \"table\" AS name FROM pragma_foreign_key_list('{}')", table.name);
        for parent in names(&mut connection, &query) {
            assert!(before.contains(&parent.as_str()), "{parent} before {}", table.name);
        }
        before.push(table.name);
    }
}

#[test]
fn the_checksum_of_rows_depends_on_their_contents_and_not_on_their_order() {
    let row = |text: &str, bytes: Option<&[u8]>| (text.to_owned(), bytes.map(<[u8]>::to_vec));
    let sum = |rows: &[&(String, Option<Vec<u8>>)]| {
        let mut sum = TableChecksum::default();
        for row in rows {
            sum.add(row);
        }
        sum
    };
    let (one, two) = (row("a", Some(b"b")), row("b", None));
    assert_eq!(sum(&[&one, &two]), sum(&[&two, &one]));
    for other in [row("ab", Some(b"")), row("a", None), row("", Some(b"ab"))] {
        assert_ne!(sum(&[&one, &two]), sum(&[&other, &two]));
    }
    assert_ne!(sum(&[&two]), sum(&[&row("b", Some(b""))]), "NULL is not empty");
    assert_ne!(sum(&[&one]), sum(&[&one, &one]));
}
