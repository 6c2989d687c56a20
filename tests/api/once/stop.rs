//! Stops under load, by every user that the service can run as, and the other signals.

mod load;
mod signals;

const EMAIL: &str = "ada@example.com";
