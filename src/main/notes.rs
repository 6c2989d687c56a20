//! Lines on standard error that say which files and database a command uses.

use std::io::{self, Write as _};
use std::path::{self, Path};

use doorward::config::{ConfigError, Loaded, one_line};

/// Prints the default database of a command on standard error. If it does not exist, the command's
/// own error names it.
pub(super) fn print_database(loaded: &Loaded, is_made: bool) -> Result<(), ConfigError> {
    if loaded.has_default_database() {
        let database = loaded.config.database()?.named();
        if is_made || Path::new(&database).exists() {
            note(&format!("database: {database}; --database-url or --data-dir selects another"));
        }
    }
    Ok(())
}

/// Names the files and the database that the check uses: a wrong directory is the most common
/// mistake.
pub(super) fn print_locations(loaded: &Loaded) -> Result<(), ConfigError> {
    let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match loaded.file() {
        Some(file) => note(&format!("config file: {}", absolute(file).display())),
        None => note("config file: none"),
    }
    note(&format!("data directory: {}", absolute(&loaded.config.data_dir).display()));
    note(&format!("database: {}", loaded.config.database()?.named()));
    Ok(())
}

pub(super) fn note(text: &str) {
    // Standard error may be closed.
    let _ = writeln!(io::stderr(), "doorward: {}", one_line(text));
}
