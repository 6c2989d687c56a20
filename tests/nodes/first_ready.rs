//! The first answer of a node's `/readyz`.

use std::time::Duration;

use doorward::clock::Clock;

use crate::support::TestApp;

#[tokio::test]
async fn a_node_with_a_wrong_clock_is_never_ready() {
    let app = TestApp::start().await;
    app.get("/readyz").send().await.assert_status(200);
    let wrong = Clock::manual(app.clock.now().plus(Duration::from_secs(3600)));
    for _ in 0..5 {
        let node = app.another_node_by(wrong.clone()).await;
        let first = node.get("/readyz").send().await.assert_problem(503, "not_ready");
        assert!(first.text.contains("differ by"), "{}", first.text);
    }
}
