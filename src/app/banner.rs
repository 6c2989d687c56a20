//! What a person who has just started it sees: a whole session in curl lines.

use std::io::{self, Write as _};

/// The session, with `{url}` where the service is. The README has the same lines, and a test runs
/// them.
pub(super) const SESSION: &str = include_str!("session.sh");

/// Prints it to the terminal, or whatever standard output is.
pub(super) fn print(url: &str) {
    let lines = SESSION.replace("http://127.0.0.1:8080", url);
    // Nobody may be reading, and that is no reason to stop.
    let _ = write!(
        io::stdout(),
        "Doorward listens on {url}. A whole session, to paste into another terminal:\n\n{lines}\n"
    );
}
