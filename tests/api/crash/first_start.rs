//! A killed first start can be repeated.

use std::process::Stdio;
use std::time::Duration;

use crate::support::binary::{Doorward, home, unlimited};

#[tokio::test]
async fn a_killed_first_start_can_be_repeated() {
    // From before the data directory exists until after the service listens, with or without
    // optimisation.
    for millis in (0..90).step_by(6).chain((100..700).step_by(60)) {
        let home = home();
        let mut first = unlimited(home.path()).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        first.as_mut().unwrap().kill().unwrap();
        first.unwrap().wait().unwrap();
        let service = Doorward::start(&mut unlimited(home.path()));
        service.get("/readyz").send().await.assert_status(200);
        service.get("/.well-known/jwks.json").send().await.assert_status(200);
    }
}
