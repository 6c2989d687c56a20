//! An owner who has lost everything is let in by the operator.

use doorward::audit::EventKind;
use serde_json::json;

use crate::admin_api::{NOBODY, on_main_port, token_of};
use crate::audit::{os_actor, stored};
use crate::support::mailbox::with_mail_and;
use crate::support::{Answer, PASSWORD, TestApp, id, until};

async fn reset(app: &TestApp, token: &str, user: &str) -> Answer {
    app.call("DELETE", &format!("/admin/users/{user}/factors")).bearer(token).send().await
}

#[tokio::test]
async fn the_admin_api_and_the_command_reset_the_factors_of_an_account() {
    let app = with_mail_and(on_main_port).await;
    let desk = app.service(&["doorward:users.read", "doorward:users.write"]).await;
    let token = token_of(&app, &desk).await;
    for by_command in [false, true] {
        let ada = app.enrolled().await;
        let (mut tokens, email) = (ada.log_in().await, ada.user.email.clone());
        app.clear_outbox().await;
        let path = format!("/admin/users/{}", ada.user.id);
        let shown = app.get(&path).bearer(&token).send().await.assert_status(200);
        assert_eq!(shown.body["factors"], json!(["totp"]));
        if by_command {
            let output = app.command(&["user", "reset-factors", &email]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.starts_with("removed the second factors of"), "{said}");
        } else {
            reset(&app, &token, &ada.user.id).await.assert_status(204);
            // Once more is a success, and changes nothing.
            reset(&app, &token, &ada.user.id).await.assert_status(204);
        }
        app.refresh(&tokens.refresh).await.assert_ended("factors_reset");
        until(async || app.me(&tokens.access).await.status == 401).await;
        let after = app.get(&path).bearer(&token).send().await.assert_status(200);
        assert_ne!(after.header("etag"), shown.header("etag"));
        assert_eq!(after.body["factors"], json!([]));
        tokens = app.log_in(&email, PASSWORD).await.tokens();
        let events = app.get("/me/activity").bearer(&tokens.access).send().await;
        let events = events.body["events"].as_array().unwrap().clone();
        let resets = events.iter().filter(|event| event["event"] == "factors_reset");
        assert_eq!(resets.count(), 1, "{events:#?}");
        let actor = if by_command { os_actor() } else { desk.id.clone() };
        let resets = stored(&app, EventKind::FactorsReset).await;
        let reset = resets.iter().find(|it| it.user_id == Some(id(&ada.user.id))).unwrap();
        assert_eq!(reset.actor, Some(actor));
        let mail = app.messages_to(&email).await;
        let notices = mail.iter().filter(|mail| mail.subject.contains("were removed"));
        assert_eq!(notices.count(), 1, "{mail:#?}");
    }
    reset(&app, &token, NOBODY).await.assert_status(404);
}
