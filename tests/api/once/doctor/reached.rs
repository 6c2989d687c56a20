//! Findings about the service as clients reach it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

use crate::support::binary::{Doorward, doorward, printed};

use super::{certify, doctor, finds, healthy};

#[test]
fn it_shows_the_client_address_behind_a_proxy() {
    let home = healthy();
    let asked = |proxy: &str, forwarded: &str| {
        let mut command = doctor(home.path());
        command.env("DOORWARD_TRUSTED_PROXIES", proxy);
        command.args(["--peer", "10.0.0.1", "--forwarded-for", forwarded]);
        command
    };
    let said = printed(&mut asked("10.0.0.0/8", "203.0.113.9, 198.51.100.7"));
    assert!(said.contains("counts as one of 198.51.100.7."), "{said}");
    finds(&mut asked("", "198.51.100.7"), "trusted_proxies", "10.0.0.1 is not listed");
    finds(&mut asked("10.0.0.1", "unknown"), "trusted_proxies", "holds no client address");
}

#[test]
fn it_finds_faults_of_the_public_url() {
    let home = healthy();
    let at = |url: &str| {
        let mut command = doctor(home.path());
        command.args(["--url", url]);
        command
    };
    let date = |date: &str| answering(&format!("HTTP/1.1 200 OK\r\ndate: {date}\r\n\r\n"));
    finds(&mut at(&date("Wed, 25 Nov 2020 12:00:00 GMT")), "clock", "let NTP set both");
    finds(&mut at(&answering("HTTP/1.1 404 Not Found\r\n\r\n")), "url", "with 404");
    finds(&mut at(&answering("SSH-2.0\r\n\r\n")), "url", "not HTTP");
    finds(&mut at("http://127.0.0.1:1"), "url", "cannot be reached");

    certify(home.path(), "localhost", 2090);
    let mut command = doorward(home.path());
    command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
    let service = Doorward::start(&mut command);
    let port = service.url.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let here = || {
        let mut command = at(&url);
        command.env("DOORWARD_PUBLIC_URL", &url);
        command
    };
    finds(&mut here(), "url", "SSL_CERT_FILE");
    let trusting = printed(here().env("SSL_CERT_FILE", "cert.pem"));
    assert_eq!(trusting, "No problems found.\n");
    assert!(service.stop().0.success());
}

/// rustls has a separate error for each of these.
#[test]
fn a_certificate_of_ones_own_is_explained_with_ssl_cert_file() {
    for is_authority in [false, true] {
        let home = healthy();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        fs::write(home.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(home.path().join("key.pem"), key.serialize_pem()).unwrap();
        let mut command = doorward(home.path());
        command.env("DOORWARD_TLS__CERT", "cert.pem").env("DOORWARD_TLS__KEY", "key.pem");
        let service = Doorward::start(&mut command);
        let url = format!("https://localhost:{}", service.url.rsplit(':').next().unwrap());
        for trusted in [None, Some("cert.pem")] {
            let mut asked = doctor(home.path());
            asked.args(["--url", &url]).env("DOORWARD_PUBLIC_URL", &url);
            asked.envs(trusted.map(|file| ("SSL_CERT_FILE", file)));
            // A certificate that is its own authority may be trusted, and still not be accepted as
            // both.
            if !is_authority && trusted.is_some() {
                assert_eq!(printed(&mut asked), "No problems found.\n");
                continue;
            }
            finds(&mut asked, "url", "SSL_CERT_FILE");
            let said = asked.output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            assert!(!said.contains("OtherError") && !said.contains("AsEndEntity"), "{said}");
        }
        assert!(service.stop().0.success());
    }
}

/// The URL of a server that answers one request with this.
fn answering(answer: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), answer.to_owned());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(answer.as_bytes());
    });
    format!("http://{address}")
}
