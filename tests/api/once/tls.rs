//! HTTPS: the certificate and its renewal, what is refused before there is a request, the way from
//! http to https, and a stop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use doorward::clock::Clock;
use doorward::config::Config;
use doorward::http::server::tls::{Tls, TlsFiles};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ProtocolVersion, RootCertStore};

use crate::support::binary::{Doorward, doorward, give, run, unlimited};
use crate::support::client::{Call, PASSWORD};
use crate::support::program::free_port;
use crate::support::{TestApp, raw, until};

pub const ISSUER: &str = "https://doorward.test";

/// Longer than a handshake may take, and its connection may be silent.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// A certificate for 127.0.0.1 and its key, as files.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn in_directory(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    fn cert(&self) -> PathBuf {
        self.directory.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// Writes a new pair, and answers the certificate.
    pub fn issue(&self) -> CertificateDer<'static> {
        let (pem, key, der) = pair(|_| {});
        fs::write(self.cert(), pem).unwrap();
        fs::write(self.key(), key).unwrap();
        fs::set_permissions(self.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        give(&self.cert(), &self.directory);
        give(&self.key(), &self.directory);
        der
    }

    fn configure(&self, config: &mut Config) {
        config.public_url = ISSUER.into();
        (config.tls.cert, config.tls.key) = (self.cert(), self.key());
    }

    pub fn command(&self, mut command: Command) -> Command {
        command.env("DOORWARD_TLS__CERT", self.cert()).env("DOORWARD_TLS__KEY", self.key());
        command
    }
}

fn pair(change: impl FnOnce(&mut CertificateParams)) -> (String, String, CertificateDer<'static>) {
    let mut params = CertificateParams::new(["127.0.0.1".into(), "localhost".into()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    (cert.pem(), key.serialize_pem(), cert.der().clone())
}

/// A client that trusts these and nobody else.
fn trusting(trusted: &[CertificateDer<'static>]) -> reqwest::Client {
    let trusted = trusted.iter().map(|der| reqwest::Certificate::from_der(der).unwrap());
    // A connection for each request: a handshake for each, too.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only(trusted);
    client.pool_max_idle_per_host(0).build().unwrap()
}

/// A TLS connection by hand.
pub async fn connect(
    address: SocketAddr,
    trusted: &[CertificateDer<'static>],
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    shake_hands(stream, trusted, versions, protocols).await
}

pub async fn shake_hands(
    stream: TcpStream,
    trusted: &[CertificateDer<'static>],
    versions: &[&'static rustls::SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_protocol_versions(versions).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // By its address: no name is sent.
    let name = ServerName::from(stream.peer_addr()?.ip());
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub const BOTH: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS12, &rustls::version::TLS13];

/// The certificate that is served now.
async fn served(address: SocketAddr, trusted: &[CertificateDer<'static>]) -> Vec<u8> {
    let stream = connect(address, trusted, BOTH, &[]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Starts a service with its certificate, and speaks https with it.
pub fn start(command: &mut Command, cert: &CertificateDer<'static>) -> Doorward {
    let mut service = Doorward::start(command);
    service.http = trusting(std::slice::from_ref(cert));
    service.url = service.url.replace("http://", "https://");
    service
}

#[tokio::test]
async fn the_api_is_served_over_https() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let (http, base) = (trusting(&[cert]), format!("https://{}", app.address));
    let account = json!({ "email": "ada@example.com", "password": PASSWORD });
    let call = |method: &str, path: &str| Call::to(&http, &base, method, path);
    call("POST", "/register").json(&account).send().await.assert_status(201);
    let tokens = call("POST", "/login").json(&account).send().await.tokens();
    let me = call("GET", "/me").bearer(&tokens.access).send().await.assert_status(200);
    assert!(me.header("strict-transport-security").is_some());
    let cookies = json!({
        "email": "ada@example.com", "password": PASSWORD, "transport": "cookie"
    });
    let answer = call("POST", "/login").header("sec-fetch-site", "same-origin");
    let answer = answer.json(&cookies).send().await.assert_status(200);
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert!(!cookies.is_empty());
    for cookie in cookies {
        assert!(cookie.to_str().unwrap().contains("; Secure"), "{cookie:?}");
    }
}

#[tokio::test]
async fn both_versions_of_tls_speak_http_1_1_with_forward_secrecy() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let trusted = [files.issue()];
    let app = TestApp::with(|config| files.configure(config)).await;
    for (version, is) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let offered: &[&[u8]] = &[b"h2", b"http/1.1"];
        let stream = connect(app.address, &trusted, &[version], offered).await.unwrap();
        let session = stream.get_ref().1;
        assert_eq!(session.protocol_version(), Some(is));
        assert_eq!(session.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(session.negotiated_key_exchange_group().is_some(), "no forward secrecy");
        let refused = connect(app.address, &trusted, &[version], &[b"h2"]).await;
        assert!(refused.is_err(), "it promises a protocol that it does not speak");
    }
}

#[tokio::test]
async fn an_older_tls_version_gets_an_alert() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    for version in [0x01, 0x02] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        let mut answer = Vec::new();
        let end = tokio::time::timeout(CLOSE_TIMEOUT, stream.read_to_end(&mut answer)).await;
        end.expect("it closes").unwrap();
        // RFC 8446 6: an alert, fatal, protocol_version.
        assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
    }
}

/// The first message of TLS 1.0 or 1.1 (RFC 4346 7.4.1.2), with the extensions of a later one.
fn client_hello(version: u8) -> Vec<u8> {
    let extensions = [
        &[0, 13, 0, 6, 0, 4, 4, 3, 8, 4][..], // signature_algorithms
        &[0, 10, 0, 4, 0, 2, 0, 23],          // supported_groups: P-256
        &[0, 11, 0, 2, 1, 0],                 // ec_point_formats
    ]
    .concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let hello = [
        &[3, version][..],
        &[7; 32],                        // random
        &[0],                            // no session
        &[0, 4, 0xc0, 0x2b, 0xc0, 0x0a], // ECDHE with ECDSA
        &[1, 0],                         // no compression
        &[0, length(&extensions)],
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0, 0, length(&hello)][..], &hello].concat();
    [&[22, 3, 1, 0, length(&handshake)][..], &handshake].concat()
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_an_error_and_is_closed() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let body = "x".repeat(10_000);
    for request in [
        "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{body}"),
    ] {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = raw::until_closed(&mut stream, CLOSE_TIMEOUT).await.expect("it closes");
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("HTTPS only"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_never_finishes_its_handshake_is_cut() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let silent = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let half = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        stream.write_all(&client_hello(3)[..20]).await.unwrap();
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let trickling = async {
        let mut stream = TcpStream::connect(app.address).await.unwrap();
        for byte in client_hello(3) {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            // As fast as somebody who wants to hold a place.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        raw::until_closed(&mut stream, CLOSE_TIMEOUT).await
    };
    let idle = async {
        // Beside them everybody else is served.
        let base = format!("https://{}", app.address);
        Call::to(&trusting(&[cert]), &base, "GET", "/healthz").send().await.assert_status(200);
    };
    let (silent, half, trickling, ()) = tokio::join!(silent, half, trickling, idle);
    assert!(silent.is_some() && half.is_some() && trickling.is_some(), "they are kept for ever");
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_or_a_failed_request() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let old = files.issue();
    let app = TestApp::with(|config| files.configure(config)).await;
    let (pem, key, new) = pair(|_| {});
    let trusted = [old.clone(), new.clone()];
    let (http, base) = (trusting(&trusted), format!("https://{}", app.address));
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        while !stop.load(Ordering::Relaxed) {
            Call::to(&http, &base, "GET", "/healthz").send().await.assert_status(200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let renewal = async {
        assert_eq!(served(app.address, &trusted).await, old.to_vec());
        until(async || answered.load(Ordering::Relaxed) > 10).await;
        fs::write(files.cert(), pem).unwrap();
        fs::write(files.key(), key).unwrap();
        until(async || served(app.address, &trusted).await == new.to_vec()).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load, renewal);
    assert!(answered.into_inner() > 10);
}

#[test]
fn an_unusable_certificate_leaves_the_previous_one_in_use() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let until = |year| move |it: &mut CertificateParams| it.not_after = date_time_ymd(year, 1, 1);
    let ((old_pem, old_key, _), (new_pem, new_key, _)) = (pair(until(2040)), pair(until(2041)));
    fs::write(files.cert(), &old_pem).unwrap();
    fs::write(files.key(), &old_key).unwrap();
    fs::set_permissions(files.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let now = Clock::system().now();
    let tls = Tls::load(TlsFiles { cert: files.cert(), key: files.key() }, now).unwrap();
    let serves = |year| tls.not_after().to_string().starts_with(&format!("{year}-"));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    for (cert, key, year) in [
        (broken, old_key.as_str(), 2040),
        ("", &old_key, 2040),
        // The two files change one after the other.
        (&new_pem, &old_key, 2040),
        (&new_pem, &new_key, 2041),
        (&new_pem, &old_key, 2041),
        (&old_pem, &old_key, 2040),
    ] {
        fs::write(files.cert(), cert).unwrap();
        fs::write(files.key(), key).unwrap();
        for _ in 0..3 {
            tls.reload_if_changed(now);
            assert!(serves(year), "{year}: {cert}");
        }
    }
    fs::remove_file(files.key()).unwrap();
    tls.reload_if_changed(now);
    assert!(serves(2040));
}

#[tokio::test]
async fn plain_http_is_shown_the_way_to_the_public_url() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let port = free_port();
    let from = SocketAddr::from(([127, 0, 0, 1], port));
    let _app = TestApp::with(|config| {
        files.configure(config);
        config.public_url = "https://login.example.com:8443/auth".into();
        config.tls.http_redirect_listen = Some(from);
    })
    .await;
    let http = reqwest::Client::builder().no_proxy();
    let http = http.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (method, path) in
        [("GET", "/auth/me?a=b"), ("POST", "/auth/login"), ("GET", "//evil.test/")]
    {
        let request = http.request(method.parse().unwrap(), format!("http://{from}{path}"));
        let answer = request.header("host", "evil.test").send().await.unwrap();
        assert_eq!(answer.status(), 308);
        let location = answer.headers()["location"].to_str().unwrap();
        assert_eq!(location, format!("https://login.example.com:8443{path}"));
    }
}

#[tokio::test]
async fn sigterm_completes_requests_over_tls() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let cert = files.issue();
    let mut command = files.command(unlimited(home.path()));
    let service = Doorward::start(command.env("DOORWARD_PUBLIC_URL", ISSUER));
    let address: SocketAddr = service.url.strip_prefix("http://").unwrap().parse().unwrap();
    let mut idle = connect(address, std::slice::from_ref(&cert), BOTH, &[]).await.unwrap();
    let mut busy = connect(address, &[cert], BOTH, &[]).await.unwrap();
    let body = json!({ "email": "ada@example.com", "password": PASSWORD }).to_string();
    let head = format!(
        "POST /register HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    service.signal(Signal::TERM);
    until(async || TcpStream::connect(address).await.is_err()).await;
    busy.write_all(body.as_bytes()).await.unwrap();
    busy.flush().await.unwrap();
    let mut answer = String::new();
    // Whole, and closed as TLS wants it: anything else is an error.
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let mut nothing = Vec::new();
    let _ = idle.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    let (status, _, log) = service.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn an_unusable_certificate_is_rejected_with_a_remedy() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    files.issue();
    let refused = |change: &dyn Fn(&mut Command)| {
        let mut command = files.command(doorward(home.path()));
        change(&mut command);
        let refusal = run(&mut command);
        assert_eq!(refusal.status.code(), Some(2), "{}", refusal.stderr);
        assert_eq!(refusal.stderr.lines().count(), 1, "{}", refusal.stderr);
        refusal.stderr
    };
    let says = |text: &str, parts: &[&str]| {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    };
    let nowhere = refused(&|it| {
        it.env("DOORWARD_TLS__CERT", "nowhere.pem");
    });
    says(&nowhere, &["tls.cert: nowhere.pem cannot be read", "name a file"]);
    let lonely = refused(&|it| {
        it.env_remove("DOORWARD_TLS__KEY");
    });
    says(&lonely, &["tls.key", "tls.cert is given without it", "name both"]);
    let plain = refused(&|it| {
        it.env("DOORWARD_PUBLIC_URL", "http://login.example.com");
    });
    says(&plain, &["public_url", "https"]);
    let swapped = refused(&|it| {
        it.env("DOORWARD_TLS__CERT", files.key()).env("DOORWARD_TLS__KEY", files.cert());
    });
    says(&swapped, &["tls.cert: there is no certificate in", "key.pem", "write it in PEM"]);
    let no_key = refused(&|it| {
        it.env("DOORWARD_TLS__KEY", files.cert());
    });
    says(&no_key, &["tls.key: there is no private key in", "cert.pem"]);
    fs::write(files.key(), pair(|_| {}).1).unwrap();
    says(&refused(&|_| {}), &["tls.key", "is not that of the first certificate", "made together"]);
    let mut command = doorward(home.path());
    let no_way = run(command.env("DOORWARD_TLS__HTTP_REDIRECT_LISTEN", "127.0.0.1:0"));
    says(&no_way.stderr, &["tls.http_redirect_listen", "no https to show the way to"]);
    let mut command = doorward(home.path());
    let odd = run(command.env("DOORWARD_TLS__HTTP_REDIRECT_LISTEN", "80"));
    says(&odd.stderr, &["tls.http_redirect_listen", "`80` is no address with a port"]);
}

#[test]
fn the_log_warns_about_questionable_but_served_settings() {
    let home = tempfile::tempdir().unwrap();
    let files = Files::in_directory(home.path());
    let (pem, key, _) = pair(|it| it.not_after = date_time_ymd(2020, 1, 1));
    fs::write(files.cert(), pem).unwrap();
    fs::write(files.key(), key).unwrap();
    let open = run(&mut files.command(doorward(home.path())));
    assert!(!open.status.success() && open.stderr.contains("tls.key: every user"));
    assert!(open.stderr.contains("chmod 640"), "{}", open.stderr);
    fs::set_permissions(files.key(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = files.command(doorward(home.path()));
    command.env("DOORWARD_LOG__LEVEL", "trace");
    let log = log_of(&mut command);
    assert!(log.contains("the certificate has expired"), "{log}");
    assert!(log.contains("issuer=\"https://127.0.0.1:"), "{log}");
    assert!(!log.contains("unencrypted"), "{log}");
    // Without TLS, on every address of this machine.
    let plain = |change: &dyn Fn(&mut Command)| {
        let mut command = doorward(home.path());
        command.env("DOORWARD_LISTEN", "0.0.0.0:0");
        change(&mut command);
        log_of(&mut command)
    };
    assert!(plain(&|_| {}).contains("travel unencrypted"));
    let behind = plain(&|it| {
        it.env("DOORWARD_TRUSTED_PROXIES", "10.0.0.1");
    });
    assert!(!behind.contains("travel unencrypted"));
}

/// All that a service logs that is started and stopped.
fn log_of(command: &mut Command) -> String {
    let (service, said) = Doorward::start_and_said(command);
    let (_, _, log) = service.stop();
    said + &log
}
