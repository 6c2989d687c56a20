//! Messages that wait in the outbox.

use std::time::Duration;

use diesel::prelude::*;
use doorward::database::schema::mail_requests as table;

use super::NEW_PASSWORD;
use crate::support::mailbox::with_mail;

#[tokio::test]
async fn a_message_that_was_postponed_by_a_wrong_clock_is_sent_after_its_correction() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    app.clear_outbox().await;
    app.catch_up();
    let later = app.clock.now().plus(Duration::from_secs(3 * 24 * 60 * 60)).as_micros();
    app.db()
        .write(move |tx| {
            let postponed = (
                table::next_send_at.eq(later),
                table::leased_until.eq(later),
                table::outcome.eq(None::<String>),
                table::handed_at.eq(None::<i64>),
            );
            diesel::update(table::table).set(postponed).execute(tx.connection())
        })
        .await
        .unwrap();
    let link = app.message_to(&user.email).await.token();
    app.reset_by_link(&link, NEW_PASSWORD).await.assert_status(200);
}
