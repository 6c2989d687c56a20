//! Cookie transport: the browser's cookies, requests of other pages (none succeeds), and late
//! responses, which log nobody out.

mod clients;
mod conflicts;
mod gateway;
mod login;
mod order;
mod origins;
mod refresh;
mod session;

use crate::support::client::Call;
use crate::support::jar::{HTTPS, Jar};
use crate::support::{Answer, TestApp};

const LISTED: &str = "https://app.example.com";
const NEW_PASSWORD: &str = "nine herons borrow umbrellas";

async fn start() -> TestApp {
    TestApp::with(|config| {
        config.public_url = HTTPS.into();
        config.cors.origins = vec![LISTED.into()];
    })
    .await
}

/// The `Set-Cookie` fields, sorted.
fn set(answer: &Answer) -> Vec<String> {
    let fields = answer.headers.get_all("set-cookie").iter();
    let mut fields: Vec<String> = fields.map(|it| it.to_str().unwrap().to_owned()).collect();
    fields.sort();
    fields
}

#[track_caller]
fn assert_empties(answer: &Answer, jar: &Jar) {
    let mut jar = jar.clone();
    jar.keep(answer);
    assert_eq!(jar, Jar::default(), "{:?}", answer.headers);
}

const SITE: &str = "sec-fetch-site";

fn from(page: &[(&str, &str)], call: Call) -> Call {
    page.iter().fold(call, |call, (name, value)| call.header(name, value))
}

fn generation(name: &str) -> u64 {
    name.rsplit('-').next().unwrap().parse().unwrap()
}
