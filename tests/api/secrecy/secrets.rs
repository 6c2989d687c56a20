//! The search for secrets in a text.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::support::jar::Jar;
use crate::support::{Client, Tokens};

use super::PASSWORD;

/// A fragment of this length reveals a secret.
const PIECE: usize = 12;

/// Texts that must not be found, whole or in fragments.
#[derive(Default)]
pub struct Secrets {
    /// Text that may appear only as part of a longer word.
    pub whole: Vec<String>,
    /// Random text, every fragment of which counts.
    pub random: Vec<String>,
}

impl Secrets {
    pub fn password(&mut self, password: &str) {
        let encoded: String = url::form_urlencoded::byte_serialize(password.as_bytes()).collect();
        self.whole.extend([password.to_owned(), encoded, STANDARD.encode(password)]);
    }

    pub fn random(&mut self, text: &str) {
        self.random.push(text.to_owned());
    }

    /// The parts of a JWT except its header, which is the same for all and names the key.
    pub fn access(&mut self, token: &str) {
        self.whole.push(token.to_owned());
        for part in token.split('.').skip(1) {
            self.random(part);
        }
    }

    pub fn tokens(&mut self, tokens: &Tokens) {
        self.access(&tokens.access);
        self.refresh(&tokens.refresh);
    }

    pub fn refresh(&mut self, token: &str) {
        self.random(token);
        let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("dwr_").unwrap()).unwrap();
        // After the version, the session's id and the generation, which are not secret.
        self.bytes(&bytes[21..]);
    }

    /// Bytes, in every common encoding.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.random(&STANDARD.encode(bytes));
        self.random(&URL_SAFE_NO_PAD.encode(bytes));
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.random(&hex.concat());
        let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
        self.whole.push(list[..8].join(", "));
    }

    pub fn client(&mut self, client: &Client) {
        self.random(&client.secret);
        self.whole.push(STANDARD.encode(format!("{}:{}", client.id, client.secret)));
    }

    pub fn jar(&mut self, jar: &Jar) {
        for (name, value) in &jar.0 {
            if name.contains("refresh") { self.refresh(value) } else { self.access(value) }
        }
    }

    /// The first line with a secret.
    pub fn found_in(&self, text: &str) -> Option<String> {
        let pieces = self.random.iter().flat_map(|it| it.as_bytes().windows(PIECE));
        let pieces: HashSet<&[u8]> = pieces.collect();
        let leaks = |line: &&str| {
            self.whole.iter().any(|secret| line.contains(secret))
                || line.as_bytes().windows(PIECE).any(|it| pieces.contains(it))
        };
        text.lines().find(leaks).map(str::to_owned)
    }
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut secrets = Secrets::default();
    secrets.password(PASSWORD);
    secrets.access("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLWl0");
    let family: Vec<u8> = (100..137).collect();
    let refresh = URL_SAFE_NO_PAD.encode([&[1; 21][..], &family].concat());
    secrets.refresh(&format!("dwr_{refresh}"));
    let machine = Client { id: "orders".into(), secret: "dws_abcdefghijklmnop".into() };
    secrets.client(&machine);
    let innocent = "INFO eyJhbGciOiJFUzI1NiJ9 dwr_ dws_ orders\ntwelve geese\ninspect the ferry";
    assert_eq!(secrets.found_in(innocent), None);
    for leak in [
        format!("x{PASSWORD}y"),
        PASSWORD.replace(' ', "+"),
        STANDARD.encode(PASSWORD),
        "bmF0dXJlLW9mLW".into(),
        format!("{:02x?}", &family[..8]).replace(", ", "").to_lowercase(),
        format!("{family:?}"),
        STANDARD.encode(&family),
        refresh[40..].to_owned(),
        STANDARD.encode("orders:dws_abcdefghijklmnop"),
        "cdefghijklmn".into(),
    ] {
        assert_eq!(secrets.found_in(&format!("a\nINFO {leak}\nb")), Some(format!("INFO {leak}")));
    }
}
