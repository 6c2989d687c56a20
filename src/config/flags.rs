//! The flags that concern settings.

use std::path::PathBuf;

/// The flags that concern settings.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// The TOML file with the settings [default: doorward.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port to listen on
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// The URL under which clients reach Doorward
    #[arg(long, global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// The directory for Doorward's data
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub data_dir: Option<String>,
    /// `sqlite://PATH` or `postgres://…` (other users of this machine can read command lines)
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Log level: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Any setting; `doorward config` lists them
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
}
