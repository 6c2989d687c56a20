//! The operators who cause events.

use std::process::Command;

use doorward::audit::EventKind;
use serde_json::Value;

use crate::support::TestApp;
use crate::support::binary::printed;

use super::{activity, stored};

#[tokio::test]
async fn events_of_a_command_name_the_user_who_ran_it() {
    let app = TestApp::start().await;
    app.catch_up();
    let mut ada = app.signed_up().await;
    let run = |arguments: &[&str]| printed(&mut app.command(arguments));
    run(&["user", "roles", "add", &ada.email, "editor"]);
    run(&["user", "roles", "remove", &ada.email, "editor"]);
    run(&["user", "disable", &ada.email]);
    run(&["user", "enable", &ada.email]);
    run(&["client", "add", "--name", "Orders", "--scope", "a"]);
    run(&["key", "rotate"]);
    let name = printed(Command::new("id").arg("-un"));
    let actor = format!("os:{}", name.trim());
    for kind in [
        EventKind::RolesChanged,
        EventKind::SessionEnded,
        EventKind::AccountDisabled,
        EventKind::AccountEnabled,
        EventKind::ClientAdded,
        EventKind::KeyPublished,
    ] {
        let events = stored(&app, kind).await;
        assert!(!events.is_empty(), "{kind:?}");
        assert!(events.iter().all(|it| it.actor.as_deref() == Some(&actor)), "{events:?}");
    }
    let listed = run(&["audit", "--event", "account_disabled"]);
    assert!(listed.contains(&format!("  by {actor}\n")), "{listed}");
    let listed: Value =
        serde_json::from_str(&run(&["audit", "--event", "account_disabled", "--json"])).unwrap();
    assert_eq!(listed[0]["actor"], actor.as_str());

    // Users' own events name none, and owners do not see who works for the operator.
    ada.tokens = ada.another_session().await;
    ada.log_out().await.assert_status(204);
    let ended = stored(&app, EventKind::SessionEnded).await;
    assert_eq!(ended.iter().filter(|it| it.actor.is_none()).count(), 1, "{ended:?}");
    ada.tokens = ada.another_session().await;
    let seen = activity(&ada, "").await;
    assert!(seen.text.contains("account_disabled") && !seen.text.contains("os:"), "{}", seen.text);
}
