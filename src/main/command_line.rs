//! The commands and their help.

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use doorward::cli::audit::AuditCommand;
use doorward::cli::client::ClientCommand;
use doorward::cli::db::DbCommand;
use doorward::cli::doctor::DoctorArgs;
use doorward::cli::hash::HashCommand;
use doorward::cli::key::KeyCommand;
use doorward::cli::mail::MailCommand;
use doorward::cli::session::SessionCommand;
use doorward::cli::user::UserCommand;
use doorward::config::Flags;

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
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) flags: Flags,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Subcommand)]
pub(super) enum Command {
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
        questions: DoctorArgs,
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
    /// Mail: a test message, previews, messages that wait
    #[command(subcommand)]
    Mail(MailCommand),
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
pub(super) enum SecretCommand {
    /// Generate a new secret and print it
    #[command(after_help = "Example: umask 077; doorward secret new > /etc/doorward.secret")]
    New,
}
