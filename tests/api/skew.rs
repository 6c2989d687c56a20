//! Ending sessions from a process whose clock is wrong: no ended session or revoked token works
//! again, now or after a purge, on any node or at a verifier. And an account that is changed during
//! a login.

mod commands;
mod requests;

use doorward::clock::Timestamp;
use doorward_verifier::{Verifier, VerifyError};

use crate::support::{TestApp, Tokens, until};

const DAY: i64 = 86400;

/// How many seconds the clock of the ending process is ahead.
const SKEWS: [i64; 4] = [3600, -3600, 31 * DAY, -31 * DAY];

const NEW_PASSWORD: &str = "nine badgers polish trombones";

/// Two nodes that a verifier finds by the issuer of their tokens.
async fn two_nodes() -> (TestApp, TestApp) {
    let mut app = TestApp::with(|config| config.public_url = String::new()).await;
    // For every node that is started later.
    app.config.public_url = app.api.issuer.clone();
    let node = app.another_node().await;
    (app, node)
}

fn moved(now: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(now.as_micros() + seconds * 1_000_000)
}

/// Every node and the verifier have learnt of it, and reject every access token and every refresh
/// token.
async fn all_refuse(what: &str, nodes: &[&TestApp], verifier: &Verifier, ended: &[Tokens]) {
    for tokens in ended {
        for node in nodes {
            until(async || node.me(&tokens.access).await.status == 401).await;
            if node.clock.now() == nodes[0].clock.now() {
                node.me(&tokens.access).await.assert_problem(401, "token_revoked");
            }
            let refused = node.refresh(&tokens.refresh).await;
            assert_eq!(refused.body["code"], "invalid_grant", "{what}: {}", refused.text);
        }
        until(async || verifier.verify(&tokens.access).is_err()).await;
        let verdict = verifier.verify(&tokens.access).unwrap_err();
        assert_eq!(verdict, VerifyError::Revoked, "{what}");
    }
}

async fn purge(app: &TestApp) {
    while app.api.revocations.purge(app.clock.now()).await.unwrap() {}
    while app.api.sessions.purge(app.clock.now()).await.unwrap() {}
    while app.api.accounts.purge().await.unwrap() {}
}
