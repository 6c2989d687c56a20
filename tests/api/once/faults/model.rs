//! Random failures against a model of what is stored.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use doorward::database::schema::users;
use doorward::database::{Database, DatabaseSettings, DatabaseUrl};
use proptest::prelude::*;

use super::{BusyWriter, POISON, add_user, queued};

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Good,
    Fails,
    Panics,
    PoisonsTheCommit,
}

fn fate() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        12 => Just(Outcome::Good),
        2 => Just(Outcome::Fails),
        2 => Just(Outcome::Panics),
        1 => Just(Outcome::PoisonsTheCommit),
    ]
}

/// For every fate of units and groups: acknowledged changes are stored, and no others.
#[test]
fn exactly_the_acknowledged_changes_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let db = Database::open(&DatabaseSettings {
        url: DatabaseUrl::Sqlite(directory.path().join("test.db")),
        pool_size: 1,
        statement_timeout: Duration::from_secs(1),
        migrate: true,
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let groups = prop::collection::vec(prop::collection::vec(fate(), 1..12), 1..4);
    proptest!(ProptestConfig::with_cases(64), |(groups in groups)| {
        let (stored, acknowledged) = runtime.block_on(async {
            let mut acknowledged = BTreeSet::new();
            for (g, fates) in groups.iter().enumerate() {
                let hold = BusyWriter::on(&db).await;
                let units: Vec<_> = fates.iter().enumerate().map(|(n, fate)| {
                    let (email, fate) = (format!("{g}.{n}@example.com"), *fate);
                    let unit = queued(db.write(move |tx| {
                        add_user(tx, &email)?;
                        match fate {
                            Outcome::Good => Ok(email.clone()),
                            Outcome::Fails => Err(diesel::result::Error::NotFound),
                            Outcome::Panics => std::panic::resume_unwind(Box::new("on purpose")),
                            Outcome::PoisonsTheCommit => {
                                tx.connection().batch_execute(POISON)?;
                                Ok(email.clone())
                            }
                        }
                    }));
                    (fate, unit)
                }).collect();
                hold.release().await;
                let poisoned = fates.iter().any(|fate| matches!(fate, Outcome::PoisonsTheCommit));
                for (fate, unit) in units {
                    let answer = unit.await;
                    let good = matches!(fate, Outcome::Good) && !poisoned;
                    assert_eq!(answer.is_ok(), good, "{fate:?} in {fates:?}: {answer:?}");
                    acknowledged.extend(answer);
                }
            }
            let stored = db.read(|c| users::table.select(users::email).load::<String>(c)).await;
            db.write(|tx| diesel::delete(users::table).execute(tx.connection())).await.unwrap();
            (stored.unwrap().into_iter().collect::<BTreeSet<_>>(), acknowledged)
        });
        prop_assert_eq!(stored, acknowledged);
    });
}
