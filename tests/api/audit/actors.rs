//! The operators who cause events.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use doorward::audit::EventKind::{self, *};
use serde_json::Value;

use crate::support::binary::printed;
use crate::support::mailbox::with_mail;
use crate::support::{PASSWORD, TestApp};

use super::{activity, os_actor, stored};

/// Commands for Ada, her session, a service and a key, and the events that each adds.
const COMMANDS: [(&str, &[EventKind]); 23] = [
    ("user reset-factors ADA", &[FactorsReset, SessionEnded]),
    ("user add bea@example.com --password-file FILE", &[AccountCreated]),
    ("user invite cleo@example.com", &[AccountCreated, MailRequested]),
    ("user mail-reset ADA", &[MailRequested]),
    ("user mark-verified BEA", &[EmailVerified]),
    ("user roles set ADA author", &[RolesChanged]),
    ("user roles add ADA editor", &[RolesChanged]),
    ("user roles remove ADA editor", &[RolesChanged, SessionEnded]),
    ("user claims set ADA {\"plan\":\"pro\"}", &[ClaimsChanged]),
    ("user claims clear ADA", &[ClaimsChanged, SessionEnded]),
    ("session end SESSION", &[SessionEnded]),
    ("session end --without-factor", &[SessionEnded]),
    ("user end-sessions ADA", &[SessionEnded]),
    ("user set-password ADA --password-file FILE", &[PasswordChanged, SessionEnded]),
    ("user disable ADA", &[AccountDisabled, SessionEnded]),
    ("user enable ADA", &[AccountEnabled]),
    ("user set-email ADA ada@example.org", &[EmailChanged]),
    ("user delete ADA --yes", &[AccountDeleted]),
    ("client add --name Orders --scope a", &[ClientAdded]),
    ("client set SERVICE --name Ordering", &[ClientChanged]),
    ("client rotate-secret SERVICE", &[ClientSecretRotated]),
    ("client remove SERVICE", &[ClientRemoved]),
    ("key rotate", &[KeyPublished]),
];

#[tokio::test]
async fn every_event_of_a_command_names_the_user_who_ran_it() {
    let app = with_mail().await;
    app.catch_up();
    let ada = app.enrolled().await;
    // Her address is not proven.
    let bea = app.signed_up().await;
    let service = app.service(&["a"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, PASSWORD).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let mut session = ada.user.tokens.session.clone();
    let actor = os_actor();
    let by_actor = async |kind| {
        let events = stored(&app, kind).await;
        events.iter().filter(|it| it.actor.as_deref() == Some(&actor)).count()
    };
    for (command, kinds) in COMMANDS {
        // While she has a second factor, is disabled or has another address, she has no new
        // session.
        let login = app.log_in(&ada.user.email, PASSWORD).await;
        if login.status == 200 {
            session = login.tokens().session;
        }
        let arguments: Vec<&str> = command
            .split(' ')
            .map(|word| match word {
                "ADA" => &ada.user.id,
                "BEA" => &bea.id,
                "SESSION" => &session,
                "SERVICE" => &service.id,
                "FILE" => file.to_str().unwrap(),
                _ => word,
            })
            .collect();
        let mut before = Vec::new();
        for kind in kinds {
            before.push((by_actor(*kind).await, stored(&app, *kind).await.len()));
        }
        printed(app.command(&arguments).env("DOORWARD_EMAIL__URL", "file:"));
        for (kind, before) in kinds.iter().zip(before) {
            let new = stored(&app, *kind).await.len() - before.1;
            assert!(new > 0, "{command}: {kind:?}");
            assert_eq!(by_actor(*kind).await - before.0, new, "{command}: {kind:?}");
        }
    }
}

#[tokio::test]
async fn operators_see_who_ran_a_command_and_owners_do_not() {
    let app = TestApp::start().await;
    app.catch_up();
    let mut ada = app.signed_up().await;
    let run = |arguments: &[&str]| printed(&mut app.command(arguments));
    run(&["user", "disable", &ada.email]);
    run(&["user", "enable", &ada.email]);
    let actor = os_actor();
    let listed = run(&["audit", "--event", "account_disabled"]);
    assert!(listed.contains(&format!("  by {actor}\n")), "{listed}");
    let listed: Value =
        serde_json::from_str(&run(&["audit", "--event", "account_disabled", "--json"])).unwrap();
    assert_eq!(listed[0]["actor"], actor.as_str());

    // Users' own events name none.
    ada.tokens = ada.another_session().await;
    ada.log_out().await.assert_status(204);
    let ended = stored(&app, SessionEnded).await;
    assert_eq!(ended.iter().filter(|it| it.actor.is_none()).count(), 1, "{ended:?}");
    ada.tokens = ada.another_session().await;
    let seen = activity(&ada, "").await;
    assert!(seen.text.contains("account_disabled") && !seen.text.contains("os:"), "{}", seen.text);
}
