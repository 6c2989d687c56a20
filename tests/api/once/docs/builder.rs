//! The builders of the verifier's samples, which are compiled but not run elsewhere.

use std::time::Duration;

use doorward_verifier::{Builder, StalePolicy, Verifier};
use serde_json::Value;
use uuid::Uuid;

use crate::support::client::PASSWORD;
use crate::support::docs;
use crate::support::shell::Shell;

const START: &str = "Verifier::builder(\"https://login.example.com\")";

/// The files with samples, and the number of builders in each.
const FILES: [(&str, usize); 3] = [
    ("docs/verifying-tokens.md", 2),
    ("crates/doorward-verifier/README.md", 1),
    ("crates/doorward-verifier/src/lib.rs", 1),
];

#[tokio::test]
async fn every_builder_of_the_samples_starts_a_verifier() {
    let mut shell = Shell::new();
    let service = shell.start("doorward");
    let client = shell.run("doorward client add --name Orders --json");
    let client: Value = serde_json::from_str(&client).unwrap();
    service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
    let login = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
    for (file, count) in FILES {
        let text = docs::text(file);
        let chains: Vec<&str> = text.split(START).skip(1).map(chain).collect();
        assert_eq!(chains.len(), count, "{file}");
        for chain in chains {
            let builder = build(Verifier::builder(&service.url), chain, &client);
            let verifier = builder.start().await.unwrap_or_else(|error| panic!("{file}: {error}"));
            let ready = tokio::time::timeout(Duration::from_secs(60), verifier.ready()).await;
            assert!(ready.is_ok(), "{file}: {:?}", verifier.last_error());
            let verdict = verifier.verify(&login.access);
            assert!(verdict.is_ok(), "{file}: {verdict:?}");
        }
    }
}

/// The calls between the builder's creation and its start.
fn chain(sample: &str) -> &str {
    sample.split_once(".start()").expect("the builder is started").0
}

/// A builder after the calls of a sample, with the service's client in place of the sample's.
fn build(mut builder: Builder, chain: &str, client: &Value) -> Builder {
    // In a doc comment each line begins with `//!`; other comments follow `// `.
    let lines = chain.lines().map(|line| line.trim_start_matches("//!").trim_start());
    for call in lines.filter(|line| line.starts_with('.')) {
        let (name, arguments) = call.split_once('(').unwrap();
        builder = match name {
            ".audience" => builder.audience(literal(arguments)),
            ".client" => {
                assert!(Uuid::parse_str(literal(arguments)).is_ok(), "an id, not a name: {call}");
                let [id, secret] = ["client_id", "client_secret"].map(|it| &client[it]);
                builder.client(id.as_str().unwrap(), secret.as_str().unwrap())
            }
            ".when_stale" => {
                assert!(arguments.starts_with("StalePolicy::FailClosed)"), "{call}");
                builder.when_stale(StalePolicy::FailClosed)
            }
            _ => panic!("a call that this test does not know: {call}"),
        };
    }
    builder
}

/// The text literal that the arguments begin with.
fn literal(arguments: &str) -> &str {
    arguments.strip_prefix('"').and_then(|rest| rest.split('"').next()).expect(arguments)
}
