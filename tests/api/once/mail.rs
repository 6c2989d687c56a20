//! Mail through a mail server and in a browser, and its settings.

mod browser;
mod hostile;
mod outage;
mod server;
mod settings;
mod smtp;
