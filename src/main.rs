//! The command line.

// `src` itself holds the modules of the library.
#[path = "main/command_line.rs"]
mod command_line;
#[path = "main/log.rs"]
mod log;
#[path = "main/notes.rs"]
mod notes;
#[cfg(test)]
#[path = "main/tests.rs"]
mod tests;

use std::error::Error;
use std::io::{self, Write as _};
use std::process::{self, ExitCode};

use clap::error::ContextValue;
use clap::{CommandFactory as _, Parser as _};
use doorward::app::{self, RunError, StartError};
use doorward::cli::db::{self, DbCommand};
use doorward::cli::doctor::{self, DoctorArgs};
use doorward::cli::{AdminError, audit, client, hash, key, mail, print, session, user};
use doorward::config::{self, Config, ConfigError, Flags, Loaded, one_line};
use doorward::secret::MasterSecret;
use mimalloc::MiMalloc;

use command_line::{Cli, Command, SecretCommand};
use log::start_log;
use notes::{note, print_database, print_locations};

/// Unlike glibc's allocator it returns freed memory to the system: after 5,000 connections with
/// unfinished requests glibc kept all of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| exit_with(&error));
    match run(cli.command.as_ref().unwrap_or(&Command::Serve), &cli.flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            ExitCode::from(if needs_a_change(&*error) { 2 } else { 1 })
        }
    }
}

/// Whether a setting is wrong, or a file that it names: a restart cannot help.
fn needs_a_change(error: &(dyn Error + 'static)) -> bool {
    use StartError::{Config, Mail, Tls};
    error.is::<ConfigError>()
        || matches!(error.downcast_ref(), Some(AdminError::Config(_) | AdminError::Mail(_)))
        || matches!(error.downcast_ref(), Some(RunError::Start(Config(_) | Mail(_) | Tls(_))))
}

/// Prints clap's message about a command line, and ends the process. A URL in a wrong place may
/// hold a password, so only its scheme is shown.
fn exit_with(error: &clap::Error) -> ! {
    let urls: Vec<&str> = error
        .context()
        .filter_map(|(_, value)| match value {
            ContextValue::String(text) => Some(text.as_str()),
            _ => None,
        })
        .filter(|text| text.contains("://"))
        .collect();
    if urls.is_empty() {
        error.exit();
    }
    let mut text = error.to_string();
    for url in urls {
        let scheme = url.split("://").next().unwrap_or_default();
        text = text.replace(url, &format!("{scheme}://…"));
    }
    // Standard error may be closed.
    let _ = write!(io::stderr(), "{text}\n  tip: a database is named by --database-url\n");
    process::exit(error.exit_code())
}

fn run(command: &Command, flags: &Flags) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve => {
            let loaded = config::load(flags)?;
            let has_default_database = loaded.has_default_database();
            let config = loaded.private()?;
            let (_log, writer) = start_log(&config.log)?;
            if has_default_database {
                let database = config.database()?.named();
                tracing::info!(
                    database,
                    "the data is in the working directory; set data_dir or database_url to keep it elsewhere"
                );
            }
            Ok(app::run(&config, writer)?)
        }
        Command::Config => print(&config::load(flags)?.to_toml()?),
        Command::Doctor { questions, json } => examine(&config::load(flags)?, questions, *json),
        Command::Db(command) => {
            let loaded = config::load(flags)?;
            if !matches!(command, DbCommand::Copy(_)) {
                let is_made = matches!(command, DbCommand::Migrate { .. });
                print_database(&loaded, is_made)?;
            }
            let config = loaded.private()?;
            let _log = start_log(&config.log)?;
            db::run(command, &config)
        }
        Command::Secret(SecretCommand::New) => {
            print(&format!("{}\n", *MasterSecret::generate().to_text()))
        }
        Command::Client(command) => {
            run_admin_command(flags, |config| client::client(config, command))
        }
        Command::User(command) => run_admin_command(flags, |config| user::user(config, command)),
        Command::Session(command) => {
            run_admin_command(flags, |config| session::session(config, command))
        }
        Command::Audit(command) => run_admin_command(flags, |config| audit::audit(config, command)),
        Command::Key(command) => run_admin_command(flags, |config| key::key(config, command)),
        Command::Mail(command) => run_admin_command(flags, |config| mail::mail(config, command)),
        Command::Hash(command) => print(&hash::hash(&config::load(flags)?.config, command)?),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "doorward", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn examine(loaded: &Loaded, questions: &DoctorArgs, json: bool) -> Result<(), Box<dyn Error>> {
    print_locations(loaded)?;
    if let Some(answer) = questions.client_address(&loaded.config).filter(|_| !json) {
        print(&(one_line(&answer) + "\n"))?;
    }
    let found = doctor::examine(loaded, questions);
    let count = found.len();
    print(&if json {
        serde_json::to_string(&found)? + "\n"
    } else if found.is_empty() {
        String::from("No problems found.\n")
    } else {
        let line = |it: &doctor::Finding| {
            let line = format!("{}: {}", it.check, it.problem);
            format!("{}\n", one_line(&line))
        };
        found.iter().map(line).collect()
    })?;
    match count {
        0 => Ok(()),
        1 => Err("1 problem found; see above".into()),
        _ => Err(format!("{count} problems found; see above").into()),
    }
}

fn run_admin_command(
    flags: &Flags,
    command: impl FnOnce(&Config) -> Result<String, AdminError>,
) -> Result<(), Box<dyn Error>> {
    let loaded = config::load(flags)?;
    print_database(&loaded, false)?;
    print(&command(&loaded.private()?)?)
}
