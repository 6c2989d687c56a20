//! No secret is stored in plain text in the SQLite file.

use crate::support::TestApp;

#[tokio::test]
async fn a_client_secret_is_nowhere_in_the_database() {
    let app = TestApp::start().await;
    let service = app.service(&["read"]).await;
    app.introspect(&service, "x").await.assert_status(200);
    let (_, unprefixed) = service.secret.split_once('_').unwrap();
    for entry in std::fs::read_dir(&app.config.data_dir).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let found = bytes.windows(unprefixed.len()).any(|it| it == unprefixed.as_bytes());
        assert!(!found);
    }
}
