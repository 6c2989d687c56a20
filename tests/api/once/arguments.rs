//! Arguments that can be written in several ways, and arguments in a wrong place.

use crate::support::binary::{Doorward, doorward, home, run};
use crate::support::program::free_port;

#[test]
fn an_address_of_ipv4_that_is_written_as_one_of_ipv6_is_the_same_address() {
    let home = home();
    let port = free_port();
    for [listen, metrics] in [
        ["[::ffff:127.0.0.1]", "127.0.0.1"],
        ["127.0.0.1", "[::ffff:127.0.0.1]"],
        ["[::ffff:0.0.0.0]", "127.0.0.1"],
    ] {
        let mut command = doorward(home.path());
        command.env("DOORWARD_LISTEN", format!("{listen}:{port}"));
        command.env("DOORWARD_METRICS__ENABLED", "true");
        let refusal = run(command.env("DOORWARD_METRICS__LISTEN", format!("{metrics}:{port}")));
        assert_eq!(refusal.status.code(), Some(2), "{}", refusal.stderr);
        assert!(refusal.stderr.contains("already taken by listen"), "{}", refusal.stderr);
    }
}

#[test]
fn a_proxy_whose_ipv4_address_is_written_as_one_of_ipv6_is_trusted() {
    let home = home();
    let counts_as = |trusted: &str| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_TRUSTED_PROXIES", trusted);
        command.args(["doctor", "--peer", "127.0.0.1", "--forwarded-for", "192.0.2.7"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    for trusted in ["::ffff:127.0.0.1", "::ffff:127.0.0.0/104", "127.0.0.1"] {
        let said = counts_as(trusted);
        assert!(said.lines().next().unwrap().contains("192.0.2.7"), "{trusted}: {said}");
    }
    for everybody in ["::ffff:0.0.0.0/96", "::ffff:0:0/100", "::ffff:0:0/95", "::/8"] {
        let refusal = run(doorward(home.path()).env("DOORWARD_TRUSTED_PROXIES", everybody));
        assert!(
            !refusal.status.success() && refusal.stderr.contains("covers too many addresses"),
            "{everybody}"
        );
    }
    let mut command = doorward(home.path());
    command.env("DOORWARD_TRUSTED_PROXIES", "::ffff:10.0.0.1");
    assert!(Doorward::start(&mut command).stop().0.success());
}

#[test]
fn a_url_in_a_wrong_place_is_not_printed() {
    let home = home();
    for url in [
        "postgres://u:hunter2@h/db",
        "postgres://h/db?password=hunter2",
        "postgres://u:a hunter2'@h/",
    ] {
        for arguments in [
            &[url][..],
            &["serve", url],
            &["user", "list", url],
            &["db", "backup", "b.db", url],
            &["doctor", "--nodes", url],
            &["--databse-url", url],
            &[&format!("--{url}")],
        ] {
            let refusal = run(doorward(home.path()).args(arguments));
            assert_eq!(refusal.status.code(), Some(2), "{arguments:?}: {}", refusal.stderr);
            assert!(!refusal.stderr.contains("hunter2"), "{arguments:?}: {}", refusal.stderr);
        }
        let refusal = run(doorward(home.path()).arg(url));
        assert!(refusal.stderr.contains("--database-url"), "{}", refusal.stderr);
        assert!(refusal.stderr.contains("postgres://…"), "{}", refusal.stderr);
    }
    let refusal = run(doorward(home.path()).arg("--no-such-flag"));
    assert!(refusal.stderr.contains("--no-such-flag"), "{}", refusal.stderr);
}
