//! nginx, with a documented configuration.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::program::Program;
use super::until;

/// A running nginx. It ends when this is dropped.
pub struct Nginx {
    // Ends before its directory is removed.
    _program: Program,
    _home: TempDir,
}

impl Nginx {
    /// Starts it with these lines inside `http`, which it must accept, and waits until it listens
    /// at this address.
    pub async fn start(nginx: &Path, lines: &str, address: SocketAddr) -> Self {
        let home = tempfile::tempdir().unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {name};\n"))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{\naccess_log off;\n{temporary}{lines}}}\n"
        );
        fs::write(home.path().join("nginx.conf"), configuration).unwrap();
        let arguments = ["-p", home.path().to_str().unwrap(), "-c", "nginx.conf", "-e", "stderr"];
        let test = Command::new(nginx).args(arguments).arg("-t").output().unwrap();
        let said = String::from_utf8_lossy(&test.stderr);
        assert!(test.status.success() && !said.contains("[warn]"), "{said}");
        let program = Program::start(nginx, &arguments, home.path());
        let log = home.path().join("log");
        until(async || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(!said.contains("[emerg]"), "{said}");
            TcpStream::connect(address).is_ok()
        })
        .await;
        Self { _program: program, _home: home }
    }
}
