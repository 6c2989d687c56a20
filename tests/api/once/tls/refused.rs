//! Certificates and settings that are refused or warned of.

use std::fs;
use std::process::Command;

use rcgen::date_time_ymd;

use crate::support::binary::{Doorward, doorward, run};

use super::{Files, pair};

#[test]
fn an_unusable_certificate_is_rejected_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = files.command(doorward(home.path()));
        change(&mut command);
        let refusal = run(&mut command);
        assert_eq!(refusal.status.code(), Some(2), "{}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
        refusal.stderr
    };
    let says = |text: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let nowhere = refused(&|it| {
        it.env("DOORWARD_TLS__CERT", "nowhere.pem");
    });
    says(&nowhere, &["tls.cert: nowhere.pem cannot be read", "name a file"]);
    let lonely = refused(&|it| {
        it.env_remove("DOORWARD_TLS__KEY");
    });
    says(&lonely, &["tls.key", "tls.cert is set without it", "name both"]);
    let plain = refused(&|it| {
        it.env("DOORWARD_PUBLIC_URL", "http://login.example.com");
    });
    says(&plain, &["public_url", "https"]);
    let swapped = refused(&|it| {
        it.env("DOORWARD_TLS__CERT", files.key()).env("DOORWARD_TLS__KEY", files.cert());
    });
    says(&swapped, &["tls.cert: there is no certificate in", "key.pem", "write it in PEM"]);
    let no_key = refused(&|it| {
        it.env("DOORWARD_TLS__KEY", files.cert());
    });
    says(&no_key, &["tls.key: there is no private key in", "cert.pem"]);
    fs::write(files.key(), pair(|_| {}).1).unwrap();
    says(
        &refused(&|_| {}),
        &["tls.key", "does not match the first certificate", "belong together"],
    );
    let mut command = doorward(home.path());
    let no_way = run(command.env("DOORWARD_TLS__HTTP_REDIRECT_LISTEN", "127.0.0.1:0"));
    says(&no_way.stderr, &["tls.http_redirect_listen", "it needs an https public_url"]);
    let mut command = doorward(home.path());
    let odd = run(command.env("DOORWARD_TLS__HTTP_REDIRECT_LISTEN", "80"));
    says(&odd.stderr, &["tls.http_redirect_listen", "`80` is not an address with a port"]);
}

#[test]
fn the_log_warns_about_questionable_but_served_settings() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let (pem, key, _) = pair(|it| it.not_after = date_time_ymd(2020, 1, 1));
    fs::write(files.cert(), pem).unwrap();
    fs::write(files.key(), key).unwrap();
    let open = run(&mut files.command(doorward(home.path())));
    assert!(!open.status.success() && open.stderr.contains("tls.key: every user"));
    assert!(open.stderr.contains("chmod 640"), "{}", open.stderr);
    fs::set_permissions(files.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = files.command(doorward(home.path()));
    command.env("DOORWARD_LOG__LEVEL", "trace");
    let log = log_of(&mut command);
    assert!(log.contains("the certificate has expired"), "{log}");
    assert!(log.contains("issuer=\"https://127.0.0.1:"), "{log}");
    assert!(!log.contains("unencrypted"), "{log}");
    // Without TLS, on every address of this machine.
    let plain = |change: &dyn Fn(&mut Command)| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_LISTEN", "0.0.0.0:0");
        change(&mut command);
        log_of(&mut command)
    };
    assert!(plain(&|_| {}).contains("travel unencrypted"));
    let behind = plain(&|it| {
        it.env("DOORWARD_TRUSTED_PROXIES", "10.0.0.1");
    });
    assert!(!behind.contains("travel unencrypted"));
}

/// The whole log of a service that is started and stopped.
fn log_of(command: &mut Command) -> String {
    let (service, said) = Doorward::start_and_said(command);
    let (_, _, log) = service.stop();
    said + &log
}
