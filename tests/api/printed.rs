//! `doorward config`: its output is a file that starts the service with the same settings, for each
//! way to provide secrets.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use doorward::secret::MasterSecret;

use crate::support::app::SECRET;
use crate::support::binary::{Doorward, PATIENT, SLOWLY, database_of, printed, program};
use crate::support::claims;
use crate::support::client::PASSWORD;

const SECRETS: [&str; 3] = ["secret", "previous_secret", "database_url"];

/// The issuer does not change with the port.
const LINES: &str = "tokens.lifetime = \"7m\"\npublic_url = \"http://login.example.com\"\n";

/// The ways to provide a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Variable,
    VariableOfFile,
    Line,
    LineOfFile,
    Flag,
    FlagOfFile,
}

const WAYS: [Way; 6] =
    [Way::Variable, Way::VariableOfFile, Way::Line, Way::LineOfFile, Way::Flag, Way::FlagOfFile];

/// Only the settings that a test needs.
fn bare(home: &Path) -> Command {
    let mut command = Command::new(program());
    command.env_clear().current_dir(home).stdin(std::process::Stdio::null());
    command.envs([PATIENT, SLOWLY]).env("DOORWARD_LISTEN", "127.0.0.1:0");
    command
}

fn private(file: &Path, text: &str) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

/// Provides each of the secrets in this way.
fn given(home: &Path, way: Way, secrets: &[(&str, String)]) -> Command {
    let mut command = bare(home);
    let mut lines = String::from(LINES);
    for (name, text) in secrets {
        let variable = format!("DOORWARD_{}", name.to_ascii_uppercase());
        let file = home.join(format!("the-{name}"));
        private(&file, text);
        let file = file.display();
        match way {
            Way::Variable => command.env(variable, text),
            Way::VariableOfFile => command.env(variable + "_FILE", file.to_string()),
            Way::Flag => command.args(["--set", &format!("{name}={text}")]),
            Way::FlagOfFile => command.args(["--set", &format!("{name}_file={file}")]),
            Way::Line => {
                writeln!(lines, "{name} = \"{text}\"").unwrap();
                &mut command
            }
            Way::LineOfFile => {
                writeln!(lines, "{name}_file = \"{file}\"").unwrap();
                &mut command
            }
        };
    }
    private(&home.join("doorward.toml"), &lines);
    command
}

/// The lifetime of an access token, in seconds.
fn lifetime(access: &str) -> i64 {
    let claims = claims(access);
    claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_printed_file_starts_the_service_with_secrets_from_every_source() {
    for way in WAYS {
        let home = tempfile::tempdir().unwrap();
        let home = home.path();
        let url = database_of(home).map_or_else(
            || format!("sqlite://{}", home.join("own.db").display()),
            |url| url.replace("//doorward@", "//doorward:hunter2@"),
        );
        let previous = MasterSecret::generate().to_text().to_string();
        let values = [SECRET.to_owned(), previous.clone(), url];
        let secrets: Vec<_> = SECRETS.into_iter().zip(values).collect();

        let file = printed(given(home, way, &secrets).arg("config"));
        for hidden in [SECRET, &*previous, "hunter2"] {
            assert!(!file.contains(hidden), "{way:?}: {file}");
        }
        let service = Doorward::start(&mut given(home, way, &secrets));
        service.register("ada@example.com", PASSWORD).await.unwrap().assert_status(201);
        let tokens = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
        assert_eq!(lifetime(&tokens.access), 420, "{way:?}");
        assert!(service.stop().0.success());

        // The hidden values are provided again, and nothing else.
        fs::remove_file(home.join("doorward.toml")).unwrap();
        private(&home.join("printed.toml"), &file);
        let again = || {
            let mut command = bare(home);
            command.args(["--config", "printed.toml"]);
            for (name, text) in &secrets {
                if file.lines().any(|line| line.starts_with(&format!("#{name} = \"[secret]\""))) {
                    command.env(format!("DOORWARD_{}", name.to_ascii_uppercase()), text);
                }
            }
            command
        };
        let reprinted = printed(again().arg("config"));
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        assert_eq!(table(&reprinted), table(&file), "{way:?}");
        let service = Doorward::start(&mut again());
        service.me(&tokens.access).await.unwrap().assert_status(200);
        let next = service.log_in("ada@example.com", PASSWORD).await.unwrap().tokens();
        assert_eq!(lifetime(&next.access), 420, "{way:?}");
        assert!(service.stop().0.success());
    }
}

#[test]
fn without_settings_only_comments_are_printed() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program());
    let file = printed(command.env_clear().current_dir(home.path()).arg("config"));
    let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
    assert!(file.lines().all(is_comment), "{file}");
    // Without the `#` each default value parses.
    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ");
    let lines = file.lines().filter(is_setting).map(|line| &line[1..]);
    let settings = lines.collect::<Vec<_>>().join("\n");
    settings.parse::<toml::Table>().unwrap();
    private(&home.path().join("defaults.toml"), &settings);
    let mut command = Command::new(program());
    command.env_clear().current_dir(home.path()).args(["config", "--config", "defaults.toml"]);
    printed(&mut command);
}

#[test]
fn a_byte_order_mark_is_not_part_of_a_secret() {
    let home = tempfile::tempdir().unwrap();
    let marked =
        |name: &str, text: &str| private(&home.path().join(name), &format!("\u{feff}{text}\r\n"));
    marked("secret", SECRET);
    marked("url", &format!("sqlite://{}", home.path().join("own.db").display()));
    marked("password", PASSWORD);
    let command = |arguments: &[&str]| {
        let mut command = bare(home.path());
        command.env("DOORWARD_SECRET_FILE", "secret").env("DOORWARD_DATABASE_URL_FILE", "url");
        command.args(arguments);
        command
    };
    printed(&mut command(&["db", "migrate"]));
    printed(&mut command(&["user", "add", "ada@example.com", "--password-file", "password"]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let service = Doorward::start(&mut command(&["serve"]));
        service.log_in("ada@example.com", PASSWORD).await.unwrap().assert_status(200);
        assert!(service.stop().0.success());
    });
}
