//! Accounts: sign up, change the password, close.

mod closed;
mod closing;
mod hashes;
mod password;
mod registration;

use diesel::prelude::*;
use doorward::database::schema::users;

use crate::support::{Answer, TestApp, id};

const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

#[track_caller]
fn assert_invalid(answer: Answer, pointer: &str) -> Answer {
    let answer = answer.assert_problem(422, "invalid_fields");
    assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{}", answer.text);
    answer
}

async fn password_hash(app: &TestApp, user: &str) -> String {
    let id = id(user);
    let hash = app
        .db()
        .read(move |c| users::table.find(id).select(users::password_hash).get_result(c))
        .await;
    hash.unwrap()
}
