//! The response and cost of each login path: the same for every account, so that existing addresses
//! are not revealed. Statements, hashes and blocks of memory are counted; they determine the time.

use doorward::config::Config;
use serde_json::{Value, json};

use crate::support::app::{CHEAP_KIB, behind_a_proxy};
use crate::support::{Answer, PASSWORD, TestApp, Tokens};

const WRONG: &str = "not my password at all";

/// A network that every account has logged in from, the attacker's too: an office, a campus.
const OFFICE: &str = "203.0.113.7";

/// Wrong passwords that an account accepts from one network, and from all networks together.
const BY_NETWORK: usize = 10;
const BY_ACCOUNT: usize = 20;

/// Other work of the service only adds to a count; each is the lowest of this many tries.
const TRIES: usize = 4;

/// States of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    Unknown,
    /// A malformed address.
    Malformed,
    Active,
    /// An account with many logins.
    Busy,
    /// The password is longer than the maximum.
    OverLong,
    /// The password is right.
    Disabled,
    /// The password was right.
    Closed,
    /// Its hash has cheaper parameters.
    Dormant,
    /// Disabled, with such a hash, and the password is right.
    DisabledDormant,
}

impl Account {
    const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Malformed,
        Self::Active,
        Self::Busy,
        Self::OverLong,
        Self::Disabled,
        Self::Closed,
        Self::Dormant,
        Self::DisabledDormant,
    ];

    /// As many accounts as there are situations.
    fn email(self, situation: Situation) -> String {
        let at = if self == Self::Malformed { "" } else { "@example.com" };
        format!("{self:?}.{situation:?}{at}").to_lowercase()
    }

    const fn exists(self) -> bool {
        !matches!(self, Self::Unknown | Self::Malformed)
    }

    const fn is_dormant(self) -> bool {
        matches!(self, Self::Dormant | Self::DisabledDormant)
    }

    fn password(self) -> String {
        match self {
            Self::Disabled | Self::DisabledDormant | Self::Closed | Self::Unknown => {
                PASSWORD.into()
            }
            Self::OverLong => PASSWORD.repeat(100),
            Self::Malformed | Self::Active | Self::Busy | Self::Dormant => WRONG.into(),
        }
    }
}

/// The history before a login, and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    Nothing,
    AtTheOffice,
    NetworkSpent,
    AccountSpent,
    AccountSpentAtTheOffice,
    BothSpentAtTheOffice,
}

impl Situation {
    const ALL: [Self; 6] = [
        Self::Nothing,
        Self::AtTheOffice,
        Self::NetworkSpent,
        Self::AccountSpent,
        Self::AccountSpentAtTheOffice,
        Self::BothSpentAtTheOffice,
    ];

    /// The expected status and number of hashes.
    const fn expected(self) -> (u16, u64) {
        match self {
            Self::Nothing | Self::AtTheOffice => (401, 1),
            // Because the owner may be in this network.
            Self::AccountSpent | Self::AccountSpentAtTheOffice => (429, 1),
            Self::NetworkSpent | Self::BothSpentAtTheOffice => (429, 0),
        }
    }

    /// The source of the nth try.
    fn network(self, n: usize) -> String {
        match self {
            Self::Nothing | Self::AccountSpent => format!("192.0.2.{n}"),
            Self::NetworkSpent => String::from("192.0.2.1"),
            Self::AtTheOffice | Self::AccountSpentAtTheOffice | Self::BothSpentAtTheOffice => {
                OFFICE.into()
            }
        }
    }
}

/// A response and its cost.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
    statements: u64,
    hashes: u64,
    blocks: u64,
}

#[tokio::test]
async fn a_login_answers_and_costs_the_same_for_every_account_on_every_path() {
    let (app, stranger) = Box::pin(service_with_accounts()).await;
    for device in [None, Some(&stranger)] {
        for situation in Situation::ALL {
            let mut unknown = None;
            for account in Account::ALL {
                if device.is_none() {
                    bring_about(&app, situation, account).await;
                }
                let seen = seen(&app, situation, account, device).await;
                let found = (seen.status, seen.hashes);
                assert_eq!(found, situation.expected(), "{situation:?}, {account:?}");
                let unknown = unknown.get_or_insert_with(|| seen.clone());
                assert_eq!(&seen, unknown, "{situation:?}, {account:?}, {}", device.is_some());
            }
        }
    }
}

#[tokio::test]
async fn a_throttled_account_admits_its_owner_from_a_known_network_and_reveals_nothing_there() {
    let (app, _) = Box::pin(service_with_accounts()).await;
    let situation = Situation::AccountSpentAtTheOffice;
    let owner = Account::Active.email(situation);
    bring_about(&app, situation, Account::Active).await;
    bring_about(&app, situation, Account::Unknown).await;

    let before = app.api.accounts.hasher().filled();
    let away = log_in(&app, "192.0.2.99", &owner, PASSWORD, None).await;
    let away = away.assert_problem(429, "too_many_failed_logins");
    let unknown = Account::Unknown.email(situation);
    let nobody = log_in(&app, "192.0.2.99", &unknown, PASSWORD, None).await;
    assert_eq!(
        away.without_its_request(),
        nobody.without_its_request(),
        "the right password is compared with nothing"
    );
    assert_eq!(app.api.accounts.hasher().filled() - before, 2 * u64::from(CHEAP_KIB) * 2);

    for _ in 0..BY_NETWORK - 1 {
        log_in(&app, OFFICE, &owner, WRONG, None).await.assert_status(429);
    }
    log_in(&app, OFFICE, &owner, PASSWORD, None).await.assert_status(200);
    log_in(&app, OFFICE, &owner, WRONG, None).await.assert_status(429);
    // Ten were wrong: even the owner has to wait.
    log_in(&app, OFFICE, &owner, PASSWORD, None).await.assert_status(429);
}

/// A service with the accounts of every situation, and the tokens of an attacker who has one as
/// well.
async fn service_with_accounts() -> (TestApp, Tokens) {
    let app = TestApp::with(|config: &mut Config| {
        behind_a_proxy(config);
        config.limits.failed_logins_per_address = u32::try_from(BY_NETWORK).unwrap();
        config.limits.failed_logins_per_account = u32::try_from(BY_ACCOUNT).unwrap();
        config.passwords.iterations = 1;
    })
    .await;
    for account in Account::ALL.into_iter().filter(|account| account.is_dormant()) {
        move_in(&app, account).await;
    }
    let app = app.restart_with(|config| config.passwords.iterations = 2).await;
    for account in Account::ALL.into_iter().filter(|account| account.exists()) {
        if !account.is_dormant() {
            move_in(&app, account).await;
        }
    }
    let email = "stranger@example.com";
    app.register(email, PASSWORD).await.assert_status(201);
    let stranger = log_in(&app, OFFICE, email, PASSWORD, None).await.tokens();
    (app, stranger)
}

async fn move_in(app: &TestApp, account: Account) {
    for situation in Situation::ALL {
        let email = account.email(situation);
        let id = app.register(&email, PASSWORD).await.assert_status(201).body["id"].clone();
        let id = crate::support::id(id.as_str().unwrap());
        let times = if account == Account::Busy { 20 } else { 1 };
        for _ in 0..times {
            let tokens = log_in(app, OFFICE, &email, PASSWORD, None).await.tokens();
            if account == Account::Closed {
                let body = json!({ "password": PASSWORD });
                let request = app.post("/me/close").header("x-forwarded-for", OFFICE);
                let closed = request.bearer(&tokens.access).json(&body).send().await;
                closed.assert_status(204);
            }
        }
        if matches!(account, Account::Disabled | Account::DisabledDormant) {
            assert!(app.api.account_admin.disable(id).await.unwrap().changed);
        }
    }
}

async fn bring_about(app: &TestApp, situation: Situation, account: Account) {
    let (email, password) = (account.email(situation), account.password());
    let guess = async |network: &str| {
        let password = if account.exists() { WRONG } else { &password };
        log_in(app, network, &email, password, None).await
    };
    match situation {
        Situation::Nothing | Situation::AtTheOffice => {}
        Situation::NetworkSpent => {
            for _ in 0..BY_NETWORK {
                guess(&situation.network(0)).await.assert_status(401);
            }
        }
        Situation::AccountSpent
        | Situation::AccountSpentAtTheOffice
        | Situation::BothSpentAtTheOffice => {
            for n in 0..BY_ACCOUNT {
                guess(&format!("198.51.100.{n}")).await.assert_status(401);
            }
        }
    }
    if situation == Situation::BothSpentAtTheOffice {
        for _ in 0..BY_NETWORK {
            guess(OFFICE).await.assert_status(429);
        }
    }
}

async fn seen(
    app: &TestApp,
    situation: Situation,
    account: Account,
    device: Option<&Tokens>,
) -> Seen {
    let (email, password) = (account.email(situation), account.password());
    let mut lowest: Option<Seen> = None;
    for n in 0..TRIES {
        let network = situation.network(n + TRIES * usize::from(device.is_some()));
        let (statements, hashes, blocks) = counts(app);
        let answer = log_in(app, &network, &email, &password, device).await;
        let after = counts(app);
        let (status, headers, body) = answer.without_its_request();
        let statements = after.0 - statements;
        let (hashes, blocks) = (after.1 - hashes, after.2 - blocks);
        let seen = Seen { status, headers, body, statements, hashes, blocks };
        lowest = Some(match lowest {
            Some(before) => {
                let statements = before.statements.min(seen.statements);
                let (before, seen) = (Seen { statements, ..before }, Seen { statements, ..seen });
                assert_eq!(before, seen, "{situation:?}, {account:?}: the same each time");
                before
            }
            None => seen,
        });
    }
    lowest.unwrap()
}

fn counts(app: &TestApp) -> (u64, u64, u64) {
    let hasher = app.api.accounts.hasher();
    (app.db().load().statements, hasher.hashed(), hasher.filled())
}

async fn log_in(
    app: &TestApp,
    network: &str,
    email: &str,
    password: &str,
    device: Option<&Tokens>,
) -> Answer {
    let token = device.map(|tokens| tokens.refresh.as_str());
    let body = json!({ "email": email, "password": password, "known_device": token });
    app.post("/login").header("x-forwarded-for", network).json(&body).send().await
}
