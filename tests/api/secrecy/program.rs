//! Commands, and the secrets that the database and the files hold.

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use diesel::prelude::*;
use doorward::database::schema::users;
use doorward::database::{AnyConnection, Database, DatabaseSettings, DatabaseUrl};
use doorward::secret::Secret;
use serde_json::{Value, json};

use crate::support::app::SECRET;
use crate::support::binary::{data_of, database_of, printed};

use super::secrets::Secrets;
use super::{OPERATORS, Requests};

/// Commands, while the service runs.
pub async fn by_the_operator(
    all: &mut Requests<'_>,
    program: &impl Fn() -> Command,
    email: &str,
    secrets: &mut Secrets,
) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), OPERATORS).unwrap();
    printed(program().args(["user", "set-password", email, "--password-file"]).arg(file.path()));
    let tokens = all.log_in(email, OPERATORS).await.tokens();
    secrets.tokens(&tokens);
    let keys: Value = serde_json::from_str(&printed(program().args(["key", "list", "--json"])))
        .expect("a list of keys");
    printed(program().args(["key", "rotate"]));
    let kid = keys[0]["kid"].as_str().unwrap();
    printed(program().args(["key", "revoke", kid]));
    let call = all.post("/refresh").json(&json!({ "refresh_token": tokens.refresh }));
    let tokens = all.send(call).await.tokens();
    secrets.tokens(&tokens);
    printed(program().args(["user", "disable", email]));
    all.refresh(&tokens.refresh).await.assert_ended("account_disabled");
}

/// The master secret, and the hashes of passwords.
pub async fn stored_secrets(home: &Path, secrets: &mut Secrets) {
    let master = match database_of(home) {
        Some(_) => SECRET.to_owned(),
        None => fs::read_to_string(data_of(home).join("secret")).unwrap(),
    };
    let master = master.trim();
    secrets.random(master);
    secrets.bytes(&URL_SAFE_NO_PAD.decode(master.trim_end_matches('=')).unwrap());
    let file = || format!("sqlite://{}", data_of(home).join("doorward.db").display());
    let url = DatabaseUrl::parse(&Secret::new(database_of(home).unwrap_or_else(file))).unwrap();
    let db = Database::open(&DatabaseSettings {
        url,
        pool_size: 1,
        statement_timeout: std::time::Duration::from_secs(2),
        migrate: false,
    })
    .unwrap();
    let hashes = |c: &mut AnyConnection| users::table.select(users::password_hash).load(c);
    let hashes: Vec<String> = db.read(hashes).await.unwrap();
    assert!(!hashes.is_empty());
    for hash in hashes {
        // Salt and hash; the parameters precede them.
        hash.rsplit('$').take(2).for_each(|part| secrets.random(part));
    }
}
