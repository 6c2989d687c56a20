//! Mail requests in a restored backup.

use serde_json::json;

use super::NEW_PASSWORD;
use super::program::{messages, waiting, with_files};
use crate::support::binary::{Doorward, doorward, home, printed};
use crate::support::client::PASSWORD;
use crate::support::mailbox::request_of;
use crate::support::until;

#[tokio::test]
async fn a_link_from_before_a_restore_is_not_valid_after_it() {
    let home = home();
    let start = || Doorward::start(&mut with_files(home.path()));
    let service = start();
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let body = json!({ "email": "ada@example.com" });
    let request = request_of(service.post("/password/forgot", &body).await.unwrap());
    until(async || messages(home.path()).len() == 1).await;
    until(async || waiting(home.path()) == 0).await;
    let message = messages(home.path()).remove(0);
    assert!(service.stop().0.success());
    printed(doorward(home.path()).args(["db", "after-restore", "--yes"]));
    let service = start();
    for body in [
        json!({ "token": message.token(), "password": NEW_PASSWORD }),
        json!({ "request": request, "code": message.code(), "password": NEW_PASSWORD }),
    ] {
        let answer = service.post("/password/reset", &body).await.unwrap();
        answer.assert_problem(400, "invalid_link");
    }
    service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
}
