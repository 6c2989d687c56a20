//! Links come from the configuration, and mail goes to the stored address.

use serde_json::json;

use crate::support::PASSWORD;
use crate::support::mailbox::{with_mail, with_mail_and};

#[tokio::test]
async fn no_header_of_a_request_enters_a_link() {
    let app = with_mail().await;
    let user = app.signed_up().await;
    let evil = "evil.example";
    let call = app.post("/password/forgot");
    let call = call.header("host", evil).header("x-forwarded-host", evil);
    let call = call.header("forwarded", &format!("host={evil};proto=http"));
    let call = call.header("x-forwarded-proto", evil).header("x-forwarded-prefix", evil);
    let call = call.header("origin", &format!("https://{evil}")).header("referer", evil);
    call.json(&json!({ "email": user.email })).send().await.assert_status(202);
    let message = app.message_to(&user.email).await;
    assert!(!message.text.contains(evil), "{}", message.text);

    let app = with_mail_and(|config| {
        config.email.links.reset = String::from("https://app.example.com/reset#token={token}");
    });
    let app = app.await;
    let user = app.signed_up().await;
    app.forgot(&user.email).await;
    let message = app.message_to(&user.email).await;
    let link = format!("https://app.example.com/reset#token={}", message.token());
    assert!(message.text.contains(&link), "{}", message.text);
}

#[tokio::test]
async fn mail_goes_to_the_stored_address_only() {
    let app = with_mail().await;
    app.register("Ada@Example.com", PASSWORD).await.assert_status(201);
    app.forgot(" aDA@eXAMPLE.com").await;
    let messages = app.messages().await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].to, "Ada@Example.com");
}
