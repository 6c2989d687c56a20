//! The route table of the admin API, and the scope that each operation requires.

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web;

use super::middleware::authorize_operator;
use super::resources::admin::{audit, clients, sessions, users};
use super::resources::deferred::deferred;
use crate::clients::AdminScope;

/// All routes of the admin API.
pub fn admin_routes(config: &mut web::ServiceConfig) {
    let admin = web::scope("/admin")
        .service(web::resource("/users").get(users::list).post(deferred(users::add)))
        .service(
            web::resource("/users/{id}")
                .get(users::show)
                .patch(deferred(users::change))
                .delete(users::delete),
        )
        .service(web::resource("/users/{id}/roles").put(deferred(users::set_roles)))
        .service(web::resource("/users/{id}/password-reset").post(deferred(users::reset_password)))
        .service(
            web::resource("/users/{id}/sessions").get(sessions::list).delete(sessions::end_all),
        )
        .service(web::resource("/users/{id}/factors").delete(users::reset_factors))
        .service(web::resource("/users/{id}/sessions/{sid}").delete(sessions::end))
        .service(web::resource("/clients").get(clients::list).post(deferred(clients::add)))
        .service(
            web::resource("/clients/{id}")
                .get(clients::show)
                .patch(deferred(clients::change))
                .delete(clients::remove),
        )
        .service(
            web::resource("/clients/{id}/rotate-secret").post(deferred(clients::rotate_secret)),
        )
        .service(web::resource("/audit").get(audit::list));
    config.service(admin.wrap(from_fn(authorize_operator)));
}

/// The scope of an operation; `None` for an unknown one. A test compares this table with
/// `openapi.yaml`.
pub(super) fn required_scope(method: &Method, pattern: &str) -> Option<AdminScope> {
    Some(match (method.as_str(), pattern) {
        ("GET", "/admin/users" | "/admin/users/{id}" | "/admin/users/{id}/sessions") => {
            AdminScope::UsersRead
        }
        ("POST", "/admin/users" | "/admin/users/{id}/password-reset")
        | ("PATCH" | "DELETE", "/admin/users/{id}")
        | ("PUT", "/admin/users/{id}/roles")
        | ("DELETE", "/admin/users/{id}/factors") => AdminScope::UsersWrite,
        ("DELETE", "/admin/users/{id}/sessions" | "/admin/users/{id}/sessions/{sid}") => {
            AdminScope::SessionsWrite
        }
        ("GET", "/admin/clients" | "/admin/clients/{id}") => AdminScope::ClientsRead,
        ("POST", "/admin/clients" | "/admin/clients/{id}/rotate-secret")
        | ("PATCH" | "DELETE", "/admin/clients/{id}") => AdminScope::ClientsWrite,
        ("GET", "/admin/audit") => AdminScope::AuditRead,
        _ => return None,
    })
}
