//! The tables, once for both databases: the result of `migrations`.

#![expect(missing_docs, reason = "the macro makes public items of its own")]

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};
    use crate::database::sql_types::IdSql;

    users (id) {
        id -> IdSql,
        email -> Text,
        email_key -> Text,
        password_hash -> Text,
        roles -> Text,
        created_at -> BigInt,
        password_changed_at -> BigInt,
        last_login_at -> Nullable<BigInt>,
        disabled_at -> Nullable<BigInt>,
        closed_at -> Nullable<BigInt>,
        credentials_version -> BigInt,
        email_verified_at -> Nullable<BigInt>,
        locale -> Nullable<Text>,
        claims -> Nullable<Text>,
        version -> BigInt,
        invited_until -> Nullable<BigInt>,
        totp_secret -> Nullable<Binary>,
        totp_last_step -> Nullable<BigInt>,
        totp_pending -> Nullable<Binary>,
        totp_pending_at -> Nullable<BigInt>,
        factor_failures -> BigInt,
        factor_window_at -> Nullable<BigInt>,
        recovery_codes -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};
    use crate::database::sql_types::IdSql;

    sessions (id) {
        id -> IdSql,
        user_id -> IdSql,
        client_id -> Text,
        family_hash -> Binary,
        generation -> BigInt,
        rotated_at -> Nullable<BigInt>,
        retry_keys -> Binary,
        forgiven_generation -> Nullable<BigInt>,
        created_at -> BigInt,
        last_seen_at -> BigInt,
        expires_at -> BigInt,
        ends_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
        end_reason -> Nullable<Text>,
        label -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        address -> Nullable<Text>,
        reopened_generation -> Nullable<BigInt>,
        changed_password_at -> Nullable<BigInt>,
        auth_time -> Nullable<BigInt>,
        amr -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt};
    use crate::database::sql_types::IdSql;

    blocklist (id) {
        id -> IdSql,
        expires_at -> BigInt,
        revoked_at -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};

    signing_keys (kid) {
        kid -> Text,
        alg -> Text,
        sealed -> Binary,
        jwk -> Text,
        state -> Text,
        created_at -> BigInt,
        activated_at -> Nullable<BigInt>,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Binary, Nullable, Text};

    clients (id) {
        id -> Text,
        kind -> Text,
        name -> Text,
        secret_hash -> Nullable<Binary>,
        scopes -> Text,
        origins -> Text,
        token_lifetime -> Nullable<BigInt>,
        retry_window -> Nullable<BigInt>,
        created_at -> BigInt,
        old_secret_hash -> Nullable<Binary>,
        old_secret_until -> Nullable<BigInt>,
        version -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::database::sql_types::IdSql;

    audit_events (id) {
        id -> IdSql,
        at -> BigInt,
        event -> Text,
        user_id -> Nullable<IdSql>,
        session_id -> Nullable<IdSql>,
        address -> Nullable<Text>,
        detail -> Nullable<Text>,
        times -> BigInt,
        actor -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::{BigInt, Nullable, Text};
    use crate::database::sql_types::IdSql;

    mail_requests (id) {
        id -> IdSql,
        purpose -> Text,
        message -> Nullable<Text>,
        user_id -> Nullable<IdSql>,
        address -> Text,
        address_key -> Text,
        network -> Nullable<Text>,
        device -> Nullable<IdSql>,
        quota -> Nullable<Text>,
        password_hash -> Nullable<Text>,
        credentials_version -> Nullable<BigInt>,
        detail -> Nullable<Text>,
        locale -> Nullable<Text>,
        /// Wrong codes, and codes that are being compared.
        attempts -> BigInt,
        /// Attempts to send the message.
        sends -> BigInt,
        created_at -> BigInt,
        next_send_at -> Nullable<BigInt>,
        leased_until -> Nullable<BigInt>,
        handed_at -> Nullable<BigInt>,
        used_at -> Nullable<BigInt>,
        expires_at -> BigInt,
        outcome -> Nullable<Text>,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(sessions, users, clients);
