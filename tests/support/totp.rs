//! An authenticator app, independent of the service's own code: `oathtool`.

use std::process::Command;

use doorward::accounts::admin::AccountUpdate;
use doorward::database::ExpectedVersion;
use serde_json::{Value, json};

use super::{Answer, PASSWORD, TestApp, Tokens, User, id};

/// An app that has scanned a secret.
#[derive(Clone, Debug)]
pub struct Authenticator {
    secret: String,
}

impl Authenticator {
    /// The app with the secret of an answer.
    #[track_caller]
    pub fn scan(answer: &Answer) -> Self {
        let secret = answer.body["secret"].as_str().unwrap_or_else(|| panic!("{}", answer.text));
        Self { secret: secret.to_owned() }
    }

    /// The code that it shows at the time of the service.
    pub fn code(&self, app: &TestApp) -> String {
        self.code_in(app, 0)
    }

    /// The code of this many steps later.
    pub fn code_in(&self, app: &TestApp, steps: i64) -> String {
        let now = app.clock.now().unix_seconds() + 30 * steps;
        let output = Command::new("oathtool")
            .args(["--totp", "--base32", &format!("--now=@{now}"), &self.secret])
            .output()
            .expect("oathtool (Debian: apt-get install oathtool)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A code that is not valid now.
    pub fn wrong_code(&self, app: &TestApp) -> String {
        let near: Vec<String> = (-1..=1).map(|steps| self.code_in(app, steps)).collect();
        let wrong = (0..4).map(|n| format!("{n:06}")).find(|code| !near.contains(code));
        wrong.unwrap()
    }
}

/// A second factor as a member of a body.
pub fn totp(code: &str) -> Value {
    json!({ "totp": code })
}

pub fn recovery_code(code: &str) -> Value {
    json!({ "recovery_code": code })
}

/// A user with an authenticator app and recovery codes.
pub struct Enrolled<'a> {
    pub user: User<'a>,
    pub authenticator: Authenticator,
    pub recovery_codes: Vec<String>,
}

impl TestApp {
    /// A user whose second factor was set up in the present session. On a service with mail the
    /// outbox is empty.
    pub async fn enrolled(&self) -> Enrolled<'_> {
        let user = self.signed_up().await;
        self.enrolled_as(user).await
    }

    /// The same, for a user who has logged in.
    pub async fn enrolled_as<'a>(&self, user: User<'a>) -> Enrolled<'a> {
        let has_mail = self.api.accounts.mail().is_on();
        if has_mail {
            // Only a proven address has a second factor.
            let proven = AccountUpdate { email_verified: Some(true), ..AccountUpdate::default() };
            self.admin().update(id(&user.id), proven, ExpectedVersion::Any).await.unwrap();
        }
        let (authenticator, recovery_codes) = self.enrol(&user.tokens.access).await;
        if has_mail {
            self.clear_outbox().await;
        }
        // The confirming code is used.
        self.advance(30);
        Enrolled { user, authenticator, recovery_codes }
    }

    /// Sets up an authenticator app with this token.
    pub async fn enrol(&self, token: &str) -> (Authenticator, Vec<String>) {
        let begun = self.begin_totp(token, PASSWORD, None).await.assert_status(200);
        let authenticator = Authenticator::scan(&begun);
        let code = authenticator.code(self);
        let confirmed = self.confirm_totp(token, &code).await.assert_status(200);
        (authenticator, codes_of(&confirmed))
    }

    pub async fn begin_totp(
        &self,
        token: &str,
        password: &str,
        second_factor: Option<Value>,
    ) -> Answer {
        let body = json!({ "current_password": password, "second_factor": second_factor });
        self.post("/me/totp").bearer(token).json(&body).send().await
    }

    pub async fn confirm_totp(&self, token: &str, code: &str) -> Answer {
        self.post("/me/totp/confirm").bearer(token).json(&json!({ "code": code })).send().await
    }

    pub async fn remove_totp(&self, token: &str, second_factor: Option<Value>) -> Answer {
        let body = json!({ "current_password": PASSWORD, "second_factor": second_factor });
        self.post("/me/totp/remove").bearer(token).json(&body).send().await
    }

    pub async fn new_recovery_codes(&self, token: &str, second_factor: Option<Value>) -> Answer {
        let body = json!({ "current_password": PASSWORD, "second_factor": second_factor });
        self.post("/me/recovery-codes").bearer(token).json(&body).send().await
    }

    pub async fn reauthenticate(&self, token: &str, second_factor: Option<Value>) -> Answer {
        let body = json!({ "password": PASSWORD, "second_factor": second_factor });
        self.post("/me/reauthenticate").bearer(token).json(&body).send().await
    }

    /// A login in one request.
    pub async fn log_in_with(&self, email: &str, second_factor: Value) -> Answer {
        let body = json!({ "email": email, "password": PASSWORD, "second_factor": second_factor });
        self.post("/login").json(&body).send().await
    }

    /// The token of a login that lacks the second factor.
    pub async fn factor_token(&self, email: &str) -> String {
        let asked = self.log_in(email, PASSWORD).await;
        let asked = asked.assert_problem(401, "second_factor_required");
        asked.body["factor_token"].as_str().unwrap().to_owned()
    }

    /// The second request of a login, from this network.
    pub async fn log_in_factor_from(
        &self,
        network: &str,
        factor_token: &str,
        second_factor: &Value,
    ) -> Answer {
        let mut body = second_factor.clone();
        body["factor_token"] = json!(factor_token);
        self.post("/login/factor").header("x-forwarded-for", network).json(&body).send().await
    }

    pub async fn log_in_factor(&self, factor_token: &str, second_factor: &Value) -> Answer {
        self.log_in_factor_from("192.0.2.1", factor_token, second_factor).await
    }
}

impl Enrolled<'_> {
    /// The tokens of a login with the present code of the app.
    pub async fn log_in(&self) -> Tokens {
        let app = self.user.app;
        let code = self.authenticator.code(app);
        app.log_in_with(&self.user.email, totp(&code)).await.tokens()
    }
}

/// The recovery codes of an answer.
#[track_caller]
pub fn codes_of(answer: &Answer) -> Vec<String> {
    let codes = answer.body["recovery_codes"].as_array();
    let codes = codes.unwrap_or_else(|| panic!("{}", answer.text));
    codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect()
}

/// Uses one code twenty times at once, then one recovery code, on two nodes: one use of each
/// succeeds.
pub async fn race_codes(app: &TestApp, other: &TestApp) {
    let ada = app.enrolled().await;
    let code = totp(&ada.authenticator.code(app));
    for factor in [code, recovery_code(&ada.recovery_codes[0])] {
        let mut tokens = Vec::new();
        for _ in 0..10 {
            tokens.push(app.factor_token(&ada.user.email).await);
        }
        let attempts = (0..20).map(|n| {
            let node = if n % 4 < 2 { app } else { other };
            let (factor, token, email) = (&factor, &tokens[n % 10], &ada.user.email);
            async move {
                if n % 2 == 0 {
                    node.log_in_with(email, factor.clone()).await
                } else {
                    node.log_in_factor(token, factor).await
                }
            }
        });
        let answers = futures_util::future::join_all(attempts).await;
        let succeeded = answers.iter().filter(|answer| answer.status == 200).count();
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(succeeded, 1, "{statuses:?}");
        for answer in answers.into_iter().filter(|answer| answer.status != 200) {
            assert!(matches!(answer.status, 401 | 429 | 503), "{}", answer.text);
        }
    }
}

impl TestApp {
    /// Grants a role, as `doorward user roles add` does.
    pub fn grant(&self, user: &str, role: &str) {
        let output = self.command(&["user", "roles", "add", user, role]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
