//! The start-up banner: a sample curl session.

use std::io::{self, Write as _};

use crate::config::{Config, Registration, Verification};

/// The session, with `{url}` in place of the service's URL. The README has the same lines, and a
/// test runs them.
pub(super) const SESSION: &str = include_str!("session.sh");

/// Whether the session works as it stands: on this machine, and with a registration that is done at
/// once.
pub(super) fn works_with(config: &Config) -> bool {
    config.public_url.is_empty()
        && config.accounts.registration == Registration::Open
        && config.accounts.verification == Verification::Off
}

/// Prints it to standard output.
pub(super) fn print(url: &str) {
    let lines = SESSION.replace("http://127.0.0.1:8080", url);
    // A closed standard output is not a reason to stop.
    let _ = write!(
        io::stdout(),
        "Doorward listens on {url}. A sample session, to paste into another terminal:\n\n{lines}\n"
    );
}
