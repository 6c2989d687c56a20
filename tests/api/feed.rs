//! The revocation feed, as a service that verifies tokens itself uses it.

mod list;
mod queue;
mod stream;
mod subscribed;

use doorward::database::Id;
use doorward::revocations::feed::{FeedEvent, RevocationEntry};

use crate::support::TestApp;

/// Adds this many revocations, a thousand in a unit of work.
async fn revoke_many(app: &TestApp, first: u128, count: u128) {
    let id = |number| Id::from(uuid::Uuid::from_u128((0x7000 << 64) | (1 << 100) | number));
    let now = app.clock.now();
    let all: Vec<_> = (first..first + count).map(|number| (id(number), now)).collect();
    for unit in all.chunks(1000) {
        let (revocations, unit) = (app.api.revocations.clone(), unit.to_vec());
        let unit = app.db().write(move |tx| revocations.revoke_all(tx, unit.iter().copied(), now));
        unit.await.unwrap();
    }
}

fn entries(news: &FeedEvent) -> &[RevocationEntry] {
    match news {
        FeedEvent::Listed(entries) | FeedEvent::Revoked(entries) => entries,
        FeedEvent::Current(_) => &[],
        FeedEvent::Batch(edition) => &edition.entries,
    }
}
