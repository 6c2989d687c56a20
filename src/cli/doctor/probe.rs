//! One request to the service as its clients reach it, by plain HTTP/1.1: `doorward doctor` checks
//! the certificate, the response and the clock at a URL.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use url::{Host, Url};

use crate::clock::Timestamp;

/// The timeout for connecting, and for each step after it.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest response head that is read, in bytes.
const MAX_HEAD: u64 = 64 * 1024;

/// The response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProbeAnswer {
    /// The status.
    pub status: u16,
    /// The header field `Date` (RFC 9110 6.6.1).
    pub date: Option<Timestamp>,
}

/// Requests `/healthz` below a URL. For https the certificate is verified as clients do, with the
/// authorities that this machine trusts.
///
/// # Errors
/// The error that a client would get.
pub(super) fn healthz(url: &Url) -> io::Result<ProbeAnswer> {
    let no_host = || io::Error::other("it has no host");
    let host = url.host().ok_or_else(no_host)?;
    let port = url.port_or_known_default().ok_or_else(no_host)?;
    let stream = connect(&host, port)?;
    let authority = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    let path = url.path().trim_end_matches('/');
    let request = format!(
        "GET {path}/healthz HTTP/1.1\r\nhost: {authority}\r\nuser-agent: doorward-doctor\r\n\
         connection: close\r\n\r\n"
    );
    let head = if url.scheme() == "https" {
        let name = host.to_string();
        let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned());
        let client = ClientConnection::new(client()?, name.map_err(io::Error::other)?);
        exchange(StreamOwned::new(client.map_err(io::Error::other)?, stream), &request)
    } else {
        exchange(stream, &request)
    };
    parse(&head.map_err(explained)?).ok_or_else(|| io::Error::other("the response is not HTTP"))
}

/// rustls describes certificate errors in its own terms.
fn explained(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(rustls::Error::InvalidCertificate(fault)) = cause else {
        return error;
    };
    // If a trusted certificate has the same name, rustls reports a bad signature for a self-signed
    // one.
    match fault {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. }
        | CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. } => error,
        _ => io::Error::other(
            "this machine does not trust the authority of its certificate, or it is self-signed: \
             let a trusted authority sign it or, if the authority is your own, name its \
             certificate in SSL_CERT_FILE",
        ),
    }
}

/// Connects to the first of the host's addresses that accepts.
fn connect(host: &Host<&str>, port: u16) -> io::Result<TcpStream> {
    let name = host.to_string();
    let mut failed = io::Error::other("the host has no address");
    for address in (name.trim_matches(['[', ']']), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, STEP_TIMEOUT) {
            Ok(stream) => {
                stream.set_read_timeout(Some(STEP_TIMEOUT))?;
                stream.set_write_timeout(Some(STEP_TIMEOUT))?;
                return Ok(stream);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn client() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The head of the response.
fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    let mut stream = stream.take(MAX_HEAD);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&buffer[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn parse(head: &str) -> Option<ProbeAnswer> {
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut fields = lines.take_while(|line| !line.is_empty()).filter_map(|l| l.split_once(':'));
    let date = fields.find(|(name, _)| name.eq_ignore_ascii_case("date"));
    let date = date.and_then(|(_, value)| httpdate::parse_http_date(value.trim()).ok());
    let seconds = |date: SystemTime| {
        let since = date.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    Some(ProbeAnswer { status, date: date.and_then(seconds).map(Timestamp::from_unix_seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read() {
        let head = "HTTP/1.1 200 OK\r\nServer: x\r\nDATE: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        let date = Some(Timestamp::from_unix_seconds(784_111_777));
        assert_eq!(parse(head), Some(ProbeAnswer { status: 200, date }));
        let dateless = "HTTP/1.0 503 Not now\r\n\r\ndate: x";
        assert_eq!(parse(dateless), Some(ProbeAnswer { status: 503, date: None }));
        assert_eq!(parse("SSH-2.0-OpenSSH_9.6\r\n\r\n"), None);
    }
}
