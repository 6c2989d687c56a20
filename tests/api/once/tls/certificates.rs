//! Renewed certificates.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use doorward::clock::Clock;
use doorward::http::server::tls::{Tls, TlsFiles};
use rcgen::{CertificateParams, date_time_ymd};
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::support::client::Call;
use crate::support::{TestApp, until};

use super::{BOTH, Files, connect, pair, trusting};

/// The certificate that is served now.
async fn served(address: SocketAddr, trusted: &[CertificateDer<'static>]) -> Vec<u8> {
    let stream = connect(address, trusted, BOTH, &[]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
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
