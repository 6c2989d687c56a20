//! The route table, on one screen.

use actix_web::{HttpResponse, web};

use super::Limits;
use super::problem::{Code, Problem};
use super::resources::deferred::deferred;
use super::resources::{
    accounts, factors, health, mail, metadata, oauth, reset_page, revocation_feed, sessions, verify,
};

/// All routes of the API. `openapi.yaml` describes the same operations, and a test compares the
/// two.
pub fn routes(config: &mut web::ServiceConfig, limits: &Limits) {
    config
        .service(
            web::resource("/register")
                .wrap(limits.register.middleware())
                .post(deferred(accounts::register)),
        )
        .service(
            web::resource("/register/confirm")
                .wrap(limits.register.middleware())
                .post(deferred(mail::confirm_registration)),
        )
        .service(
            web::resource("/password/forgot")
                .wrap(limits.register.middleware())
                .post(deferred(mail::forgot_password)),
        )
        .service(
            web::resource("/password/reset")
                .wrap(limits.password.middleware())
                .post(deferred(mail::reset_password)),
        )
        .service(
            web::resource("/reset")
                .wrap(limits.password.middleware())
                .get(reset_page::show)
                .post(deferred(reset_page::submit)),
        )
        .service(
            web::resource("/login")
                .wrap(limits.password.middleware())
                .post(deferred(sessions::log_in)),
        )
        .service(
            web::resource("/login/factor")
                .wrap(limits.password.middleware())
                .post(deferred(factors::log_in)),
        )
        .service(web::resource("/refresh").post(deferred(sessions::refresh)))
        .service(web::resource("/logout").post(deferred(sessions::log_out)))
        .service(web::resource("/me").get(accounts::me))
        .service(web::resource("/me/activity").get(accounts::activity))
        .service(
            web::resource("/me/password")
                .wrap(limits.password.middleware())
                .post(deferred(accounts::change_password)),
        )
        .service(
            web::resource("/me/email")
                .wrap(limits.password.middleware())
                .post(deferred(mail::change_email)),
        )
        .service(
            web::resource("/me/email/confirm")
                .wrap(limits.password.middleware())
                .post(deferred(mail::confirm_email)),
        )
        .service(
            web::resource("/me/totp")
                .wrap(limits.password.middleware())
                .post(deferred(factors::begin_totp)),
        )
        .service(
            web::resource("/me/totp/confirm")
                .wrap(limits.password.middleware())
                .post(deferred(factors::confirm_totp)),
        )
        .service(
            web::resource("/me/totp/remove")
                .wrap(limits.password.middleware())
                .post(deferred(factors::remove_totp)),
        )
        .service(
            web::resource("/me/recovery-codes")
                .wrap(limits.password.middleware())
                .post(deferred(factors::replace_recovery_codes)),
        )
        .service(
            web::resource("/me/reauthenticate")
                .wrap(limits.password.middleware())
                .post(deferred(factors::reauthenticate)),
        )
        .service(
            web::resource("/me/close")
                .wrap(limits.password.middleware())
                .post(deferred(accounts::close)),
        )
        .service(web::resource("/sessions").get(sessions::list))
        .service(web::resource("/verify").get(verify::verify))
        .service(web::resource("/revocations").get(revocation_feed::revocations))
        .service(web::resource("/token").post(deferred(oauth::token)))
        .service(web::resource("/introspect").post(deferred(oauth::introspect)))
        .service(web::resource("/revoke").post(deferred(oauth::revoke)))
        .service(web::resource("/.well-known/jwks.json").get(metadata::jwks))
        .service(web::resource("/.well-known/oauth-authorization-server").get(metadata::metadata))
        .service(web::resource("/openapi.yaml").get(metadata::openapi))
        .service(web::resource("/healthz").get(health::healthz))
        .service(web::resource("/readyz").get(health::readyz))
        // Last: the router tries them in order, and this one by a regular expression.
        .service(web::resource("/sessions/{id}").delete(sessions::end))
        .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Code::NotFound.into())
}
