//! A new password: read from the terminal or a file, checked and hashed.

use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::app::settings;
use crate::cli::AdminError;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::passwords::{Hasher, HasherSettings, Password, PasswordHash};

/// The largest password file that is read, in bytes: more than the longest password.
const MAX_PASSWORD_FILE: u64 = 4096;

/// The first line of the file, or a password typed twice at the terminal.
pub(super) fn read_password(file: Option<&Path>) -> Result<Zeroizing<String>, AdminError> {
    let Some(file) = file else {
        if !io::stdin().is_terminal() {
            return Err(AdminError::NoPassword);
        }
        let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new);
        let password = ask("New password: ")?;
        if *password != *ask("Again: ")? {
            return Err(AdminError::PasswordsDiffer);
        }
        return Ok(password);
    };
    let mut text = Zeroizing::new(String::new());
    let failed = |cause| AdminError::PasswordFile { path: file.to_owned(), cause };
    if file == Path::new("-") {
        io::stdin().take(MAX_PASSWORD_FILE).read_to_string(&mut text).map_err(failed)?;
    } else {
        let opened = fs::File::open(file).map_err(failed)?;
        config::refuse_world_readable(
            "--password-file",
            file,
            &opened.metadata().map_err(failed)?,
        )?;
        opened.take(MAX_PASSWORD_FILE).read_to_string(&mut text).map_err(failed)?;
    }
    // Some editors put a byte order mark at the start of a file. Leading and trailing blanks are
    // part of the password.
    let line = text.trim_start_matches('\u{feff}').lines().next();
    Ok(Zeroizing::new(line.unwrap_or_default().to_owned()))
}

/// Checks the password against the policy and hashes it as the service does.
pub(super) async fn hash(
    config: &Config,
    email: &str,
    password: &str,
) -> Result<PasswordHash, AdminError> {
    let password = Password::parse(password)?;
    let settings = HasherSettings { threads: 1, queue: 1, ..settings::hasher_settings(config) };
    let hasher = Hasher::start(settings, Clock::system())?;
    let personal = vec![email.to_owned()];
    hasher.check(settings::password_policy(config), password.clone(), personal).await??;
    Ok(hasher.hash(password).await?)
}
