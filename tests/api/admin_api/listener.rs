//! The listener of its own.

use crate::support::TestApp;
use crate::support::client::Call;
use crate::support::program::free_port;

use super::token;

#[tokio::test]
async fn the_admin_api_has_an_address_of_its_own_and_nothing_else_is_there() {
    let port = free_port();
    let app = TestApp::with(|config| {
        config.admin.enabled = true;
        config.admin.listen = ([127, 0, 0, 1], port).into();
    })
    .await;
    let token = token(&app, &["doorward:users.read"]).await;
    let base = format!("http://127.0.0.1:{port}");
    let call = |path: &str| Call::to(&app.http, &base, "GET", path).bearer(&token).send();
    let listed = call("/admin/users").await.assert_status(200);
    assert!(listed.header("x-request-id").is_some());
    let plain = async |base: &str, path: &str| {
        let url = format!("{base}{path}");
        app.http.get(url).bearer_auth(&token).send().await.unwrap().status().as_u16()
    };
    for path in ["/me", "/healthz", "/login", "/metrics"] {
        assert_eq!(plain(&base, path).await, 404, "{path}");
    }
    assert_eq!(plain(&app.url(""), "/admin/users").await, 404);
    // Errors are problem documents, as everywhere.
    let none = Call::to(&app.http, &base, "GET", "/admin/users").send().await;
    none.assert_problem(401, "missing_token");
}
