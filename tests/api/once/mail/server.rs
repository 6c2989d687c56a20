//! A mail server from another project: aiosmtpd.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use doorward::config::{Config, Verification};
use doorward::secret::Secret;

use crate::once::interop::{python_with, source};
use crate::support::mailbox::{Message, with_mail_and};
use crate::support::program::{Program, free_port};
use crate::support::{TestApp, until};

/// The sender of the messages.
pub(super) const FROM: &str = "Example <no-reply@example.com>";

/// A mail server, once it is started.
pub(super) struct MailServer {
    home: tempfile::TempDir,
    pub(super) port: u16,
    program: Option<Program>,
    arguments: Vec<String>,
    python: PathBuf,
}

impl MailServer {
    /// `None` when Python or aiosmtpd is not available.
    pub(super) fn prepared(secure: Option<(&Path, &str)>) -> Option<Self> {
        // Once for all tests, which run concurrently.
        static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
        let python = PYTHON.get_or_init(|| python_with("smtp", "smtp.txt"));
        let python = python.as_ref()?.join("python");
        let (home, port) = (tempfile::tempdir().unwrap(), free_port());
        fs::create_dir(home.path().join("mail")).unwrap();
        let script = source("smtp.py").to_str().unwrap().to_owned();
        let folder = home.path().join("mail").to_str().unwrap().to_owned();
        let mut arguments = vec![script, folder, port.to_string()];
        if let Some((folder, password)) = secure {
            for name in ["cert.pem", "key.pem"] {
                arguments.push(folder.join(name).to_str().unwrap().to_owned());
            }
            arguments.extend([String::from("ada@example.com"), password.to_owned()]);
        }
        Some(Self { home, port, program: None, arguments, python })
    }

    pub(super) async fn start(&mut self) {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        self.program = Some(Program::start(&self.python, &arguments, self.home.path()));
        until(async || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
    }

    pub(super) fn url(&self) -> Secret<String> {
        Secret::new(format!("smtp://127.0.0.1:{}", self.port))
    }

    /// The messages that it accepted, in order.
    pub(super) fn messages(&self) -> Vec<Message> {
        let mut files: Vec<_> = fs::read_dir(self.home.path().join("mail"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "eml"))
            .collect();
        files.sort();
        files.iter().map(|path| Message::parse(&fs::read_to_string(path).unwrap())).collect()
    }

    pub(super) async fn started() -> Option<Self> {
        let mut server = Self::prepared(None)?;
        server.start().await;
        Some(server)
    }
}

/// A service that sends its messages to this server, and whose registrations must prove addresses.
pub(super) async fn sending_to(server: &MailServer) -> TestApp {
    sending_to_with(server, |_| {}).await
}

/// The same with other settings.
pub(super) async fn sending_to_with(
    server: &MailServer,
    change: impl FnOnce(&mut Config),
) -> TestApp {
    let url = server.url();
    with_mail_and(|config| {
        config.accounts.verification = Verification::Required;
        config.email.url = Some(url);
        config.email.from = String::from(FROM);
        change(config);
    })
    .await
}
