//! Purged entries, and subscribers that read too slowly.

use std::collections::BTreeSet;

use doorward::revocations::feed::FeedEvent;

use crate::logout::of_server;
use crate::support::TestApp;
use crate::support::feed::looked_again;

use super::{entries, revoke_many};

#[tokio::test]
async fn a_purge_sends_no_entries_to_subscribers() {
    let app = TestApp::start().await;
    revoke_many(&app, 0, 1200).await;
    let mut subscription = app.api.revocations.subscribe(None);
    while !is_current(subscription.next().await.as_ref()) {}
    let before = subscription.cursor();
    app.advance(600 + 30 + 60 + 1 + of_server(&app));
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {
        looked_again(&app).await;
    }
    looked_again(&app).await;
    assert!(is_current(subscription.next().await.as_ref()));
    assert_eq!(subscription.cursor(), before);
    // Nor to a new subscriber.
    assert_eq!(app.api.revocations.snapshot().piece(0, 1).count(), 0);
}

#[tokio::test]
async fn a_slow_subscriber_is_disconnected_without_delaying_others() {
    let app = TestApp::start().await;
    let revocations = app.api.revocations.clone();
    let mut slow = revocations.subscribe(None);
    let mut quick = revocations.subscribe(None);
    for one in [&mut slow, &mut quick] {
        assert!(is_current(one.next().await.as_ref()));
    }
    let mut heard = 0;
    for batch in 0..11_u128 {
        revoke_many(&app, batch * 1000, 1000).await;
        while batch == 8 && heard < 9000 {
            heard += entries(&quick.next().await.unwrap()).len();
        }
    }
    while heard < 11_000 {
        heard += entries(&quick.next().await.unwrap()).len();
    }
    // Everything has been sent, so the entries that it missed are no longer in memory.
    assert!(slow.next().await.is_none(), "it has to start again");
    let mut anew = revocations.subscribe(Some(&slow.cursor()));
    let mut all = BTreeSet::new();
    while all.len() < 11_000 {
        all.extend(entries(&anew.next().await.unwrap()).iter().map(|entry| entry.id));
    }
    let last = anew.next().await;
    assert!(is_current(last.as_ref()) && entries(&last.unwrap()).is_empty());
}

/// Whether a subscriber is told that it is up to date.
fn is_current(news: Option<&FeedEvent>) -> bool {
    match news {
        Some(FeedEvent::Current(_)) => true,
        Some(FeedEvent::Batch(edition)) => edition.age.is_some(),
        _ => false,
    }
}
