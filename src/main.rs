//! The command line.

use std::error::Error;
use std::io::{self, BufWriter, Write};
use std::path::{self, Path};
use std::process::{self, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use clap::error::ContextValue;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use doorward::app::{self, LogWriter, RunError, StartError};
use doorward::cli::audit::{self, AuditCommand};
use doorward::cli::client::{self, ClientCommand};
use doorward::cli::db::{self, DbCommand};
use doorward::cli::doctor::{self, Questions};
use doorward::cli::hash::{self, HashCommand};
use doorward::cli::key::{self, KeyCommand};
use doorward::cli::session::{self, SessionCommand};
use doorward::cli::user::{self, UserCommand};
use doorward::cli::{OperateError, print};
use doorward::config::{self, Config, ConfigError, Flags, Loaded, LogConfig, LogFormat, one_line};
use doorward::secret::MasterSecret;
use mimalloc::MiMalloc;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Unlike glibc's allocator it returns freed memory to the system: after 5,000 connections with
/// unfinished requests glibc kept all of it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The number of log lines that may wait to be written; more of them are dropped.
const LOG_LINES: usize = 10_000;

/// One screen: the common options are described in a few lines, and each command has its own help.
const HELP: &str = "Doorward, a self-hosted login service

Usage: doorward [COMMAND] [OPTIONS]

{subcommands}

Settings come from doorward.toml or --config FILE, from DOORWARD_* variables,
and from flags: --listen, --public-url, --data-dir, --database-url, --log, and
--set SECTION.KEY=VALUE for any other; `doorward config` explains all of them.
`doorward COMMAND --help` has examples; --version prints the version.";

/// Doorward: a self-hosted login service.
#[derive(Parser)]
#[command(version, help_template = HELP)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve; the default
    #[command(aliases = ["start", "run"], after_help = "Example: doorward serve --listen 0.0.0.0:8080 --public-url \
                      https://login.example.com")]
    Serve,
    /// Print the effective settings, each documented
    #[command(
        after_help = "Example, an initial file:\n  doorward config > /etc/doorward.toml\nSecrets \
                      are hidden."
    )]
    Config,
    /// Check the configuration, files, database and machine
    ///
    /// It changes nothing, and names a remedy for each problem.
    #[command(
        after_help = "Example: doorward doctor --config /etc/doorward.toml\nThe exit status is 1 \
                      when it finds a problem."
    )]
    Doctor {
        #[command(flatten)]
        questions: Questions,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The database: schema, copies, backups
    #[command(subcommand)]
    Db(DbCommand),
    /// The master secret
    #[command(subcommand)]
    Secret(SecretCommand),
    /// OAuth clients: the apps and services that use this one
    #[command(subcommand)]
    Client(ClientCommand),
    /// User accounts
    #[command(subcommand)]
    User(UserCommand),
    /// Sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Security events, the newest first
    #[command(
        after_help = "Example, the failed logins of a week:\n  doorward audit --event login_failed \
                      --since 7d"
    )]
    Audit(AuditCommand),
    /// The keys that sign access tokens
    #[command(subcommand)]
    Key(KeyCommand),
    /// The cost of password hashing
    #[command(subcommand)]
    Hash(HashCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example, for bash:\n  doorward completions bash > \
                      ~/.local/share/bash-completion/completions/doorward")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Subcommand)]
enum SecretCommand {
    /// Generate a new secret and print it
    #[command(after_help = "Example: umask 077; doorward secret new > /etc/doorward.secret")]
    New,
}

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| exit_with(&error));
    match run(cli.command.as_ref().unwrap_or(&Command::Serve), &cli.flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&error.to_string());
            // 2 means that a restart cannot help.
            let is_final = error.is::<ConfigError>()
                || matches!(error.downcast_ref(), Some(RunError::Start(StartError::Tls(_))));
            ExitCode::from(if is_final { 2 } else { 1 })
        }
    }
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
                tracing::info!(database, "database_url and data_dir are not set");
            }
            app::run(&config, writer).map_err(|error| match error {
                RunError::Start(StartError::Config(error)) => error.into(),
                error => error.into(),
            })
        }
        Command::Config => print(&config::load(flags)?.to_toml()?),
        Command::Doctor { questions, json } => examine(&config::load(flags)?, questions, *json),
        Command::Db(command) => {
            let loaded = config::load(flags)?;
            if !matches!(command, DbCommand::Copy(_)) {
                let is_made = matches!(command, DbCommand::Migrate);
                name_database(&loaded, is_made)?;
            }
            let config = loaded.private()?;
            let _log = start_log(&config.log)?;
            db::run(command, &config)
        }
        Command::Secret(SecretCommand::New) => {
            print(&format!("{}\n", *MasterSecret::generate().to_text()))
        }
        Command::Client(command) => operate(flags, |config| client::client(config, command)),
        Command::User(command) => operate(flags, |config| user::user(config, command)),
        Command::Session(command) => operate(flags, |config| session::session(config, command)),
        Command::Audit(command) => operate(flags, |config| audit::audit(config, command)),
        Command::Key(command) => operate(flags, |config| key::key(config, command)),
        Command::Hash(command) => finish(hash::hash(&config::load(flags)?.config, command)),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "doorward", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn examine(loaded: &Loaded, questions: &Questions, json: bool) -> Result<(), Box<dyn Error>> {
    name_everything(loaded)?;
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
    if count == 0 { Ok(()) } else { Err(format!("{count} found; see above").into()) }
}

fn operate(
    flags: &Flags,
    command: impl FnOnce(&Config) -> Result<String, OperateError>,
) -> Result<(), Box<dyn Error>> {
    let loaded = config::load(flags)?;
    name_database(&loaded, false)?;
    finish(command(&loaded.private()?))
}

fn finish(done: Result<String, OperateError>) -> Result<(), Box<dyn Error>> {
    let done = done.map_err(|error| match error {
        OperateError::Config(error) => error.into(),
        error => Box::<dyn Error>::from(error),
    })?;
    print(&done)
}

/// Names on standard error the database that a command uses by default. A command that does not
/// find one names it itself.
fn name_database(loaded: &Loaded, is_made: bool) -> Result<(), ConfigError> {
    if loaded.has_default_database() {
        let database = loaded.config.database()?.named();
        if is_made || Path::new(&database).exists() {
            note(&format!("database: {database}; --database-url or --data-dir selects another"));
        }
    }
    Ok(())
}

/// The objects of the check: a wrong directory is the most common mistake.
fn name_everything(loaded: &Loaded) -> Result<(), ConfigError> {
    let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match loaded.file() {
        Some(file) => note(&format!("config file: {}", absolute(file).display())),
        None => note("config file: none"),
    }
    note(&format!("data directory: {}", absolute(&loaded.config.data_dir).display()));
    note(&format!("database: {}", loaded.config.database()?.named()));
    Ok(())
}

fn note(text: &str) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "doorward: {}", one_line(text));
}

/// What writes the log, as long as it is there; it writes the last lines when it goes.
type LogGuard = Arc<Mutex<Option<WorkerGuard>>>;

/// The log, as long as the guard lives. It never holds up a request nor ends one: a reader that
/// stalls, a pipe that breaks and a disk that is full cost lines.
fn start_log(log: &LogConfig) -> Result<(LogGuard, LogWriter), Box<dyn Error>> {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LOG_LINES)
        // Queued lines are written together: the writer flushes when the queue is empty.
        .finish(OneLineEach(BufWriter::new(io::stderr())));
    let lost = writer.error_counter();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.level)?)
        .with_ansi(false)
        // It reports its own failures by `eprintln!`, which panics exactly when they matter.
        .log_internal_errors(false)
        .with_writer(writer);
    match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => {
            // There is one span, the request's; the list of all spans would repeat it.
            builder.json().flatten_event(true).with_span_list(false).try_init()
        }
    }
    .map_err(|error| error as Box<dyn Error>)?;
    let guard = Arc::new(Mutex::new(Some(guard)));
    let own = Arc::clone(&guard);
    let flush = Arc::new(move || drop(own.lock().unwrap_or_else(PoisonError::into_inner).take()));
    let dropped_lines = Arc::new(move || lost.dropped_lines());
    Ok((guard, LogWriter { dropped_lines, flush }))
}

/// Keeps each event on its own line: the subscriber writes an event at once, and escapes neither
/// line breaks nor, in JSON, the C1 controls.
struct OneLineEach<W>(W);

impl<W: Write> Write for OneLineEach<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.0.write_all(one_line(text.trim_end_matches('\n')).as_bytes())?;
        self.0.write_all(b"\n")?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_input_starts_a_line_in_the_log() {
        let mut out = Vec::new();
        OneLineEach(&mut out).write_all(b"agent=a\nINFO forged\x1b[2J \xc2\x85\n").unwrap();
        assert_eq!(out, b"agent=a\\u000aINFO forged\\u001b[2J \\u0085\n");
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_fits_one_screen() {
        let help = Cli::command().render_long_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
        assert!(help.lines().all(|line| line.len() < 80), "{help}");
        for flag in Cli::command().get_arguments().filter_map(clap::Arg::get_long) {
            assert!(help.contains(&format!("--{flag}")), "{flag}: {help}");
        }
    }

    #[test]
    fn the_help_of_every_command_shows_an_example_of_it() {
        fn look(path: &str, command: &mut clap::Command) {
            for command in command
                .get_subcommands_mut()
                .filter(|it| it.get_name() != "help" && !it.is_hide_set())
            {
                let path = format!("{path} {}", command.get_name());
                let help = command.render_long_help().to_string();
                let example = help.split_once("Example").map(|(_, example)| example);
                let is_group = command.has_subcommands();
                assert!(is_group || example.is_some_and(|it| it.contains(&path)), "{path}: {help}");
                look(&path, command);
            }
        }
        look("doorward", &mut Cli::command());
    }
}
