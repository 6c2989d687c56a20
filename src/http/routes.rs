//! The route table, on one screen.

use actix_web::{HttpResponse, web};

use super::Limits;
use super::problem::{Code, Problem};
use super::resources::deferred::deferred;
use super::resources::{
    accounts, docs, factors, health, index, mail, metadata, oauth, reset_page, revocation_feed,
    sessions, verify,
};

/// All routes of the API. `openapi.yaml` describes the same operations, and a test compares the
/// two.
pub fn routes(config: &mut web::ServiceConfig, limits: &Limits) {
    let register = |path| web::resource(path).wrap(limits.register.middleware());
    let password = |path| web::resource(path).wrap(limits.password.middleware());
    // It takes a password and sends mail to any address.
    let mailed_change = |path| password(path).wrap(limits.register.middleware());
    config
        .service(register("/register").post(deferred(accounts::register)))
        .service(register("/register/confirm").post(deferred(mail::confirm_registration)))
        .service(register("/password/forgot").post(deferred(mail::forgot_password)))
        .service(password("/password/reset").post(deferred(mail::reset_password)))
        .service(password("/reset").get(reset_page::show).post(deferred(reset_page::set_password)))
        .service(register("/reset/message").post(deferred(reset_page::request_message)))
        .service(password("/login").post(deferred(sessions::log_in)))
        .service(password("/login/factor").post(deferred(factors::log_in)))
        .service(web::resource("/refresh").post(deferred(sessions::refresh)))
        .service(web::resource("/logout").post(deferred(sessions::log_out)))
        .service(web::resource("/me").get(accounts::me))
        .service(web::resource("/me/activity").get(accounts::activity))
        .service(password("/me/password").post(deferred(accounts::change_password)))
        .service(mailed_change("/me/email").post(deferred(mail::change_email)))
        .service(password("/me/email/confirm").post(deferred(mail::confirm_email)))
        .service(password("/me/totp").post(deferred(factors::begin_totp)))
        .service(password("/me/totp/confirm").post(deferred(factors::confirm_totp)))
        .service(password("/me/totp/remove").post(deferred(factors::remove_totp)))
        .service(password("/me/recovery-codes").post(deferred(factors::replace_recovery_codes)))
        .service(password("/me/reauthenticate").post(deferred(factors::reauthenticate)))
        .service(password("/me/close").post(deferred(accounts::close)))
        .service(web::resource("/sessions").get(sessions::list))
        .service(web::resource("/verify").get(verify::verify))
        .service(web::resource("/revocations").get(revocation_feed::revocations))
        .service(web::resource("/token").post(deferred(oauth::token)))
        .service(web::resource("/introspect").post(deferred(oauth::introspect)))
        .service(web::resource("/revoke").post(deferred(oauth::revoke)))
        .service(web::resource("/.well-known/jwks.json").get(metadata::jwks))
        .service(web::resource("/.well-known/oauth-authorization-server").get(metadata::metadata))
        .service(web::resource("/openapi.yaml").get(metadata::openapi))
        .service(web::resource("/").get(index::index))
        .service(web::resource("/docs").get(docs::page))
        .service(web::resource("/healthz").get(health::healthz))
        .service(web::resource("/readyz").get(health::readyz))
        // Last: the router tries them in order, and these by regular expressions.
        .service(web::resource("/docs/{file}").get(docs::file))
        .service(web::resource("/sessions/{id}").delete(sessions::end))
        .default_service(web::to(not_found));
}

async fn not_found() -> Result<HttpResponse, Problem> {
    Err(Code::NotFound.into())
}
