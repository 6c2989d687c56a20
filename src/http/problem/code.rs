//! The table of all problems: name, code, status and text of each.

use actix_web::http::StatusCode;

macro_rules! codes {
    ($($name:ident $text:literal $status:ident $detail:literal;)+) => {
        /// The stable name of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $detail] $name,)+
        }

        impl Code {
            /// All codes.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as the caller sees it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The status of the response.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The default detail of a problem with this code.
            #[must_use]
            pub const fn detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)+ }
            }
        }
    };
}

codes! {
    MalformedRequest "malformed_request" BAD_REQUEST
        "The request is malformed.";
    InvalidFields "invalid_fields" UNPROCESSABLE_ENTITY
        "Some members of the body are invalid.";
    TokenInQuery "token_in_query" BAD_REQUEST
        "A token must not be sent in the query string, where logs keep it. Consider it \
         compromised.";
    MultipleCredentials "multiple_credentials" BAD_REQUEST
        "The request carries more than one credential.";
    CookiesNeedHttps "cookies_need_https" BAD_REQUEST
        "Browsers store these cookies for https and for localhost only. Serve Doorward over https \
         and set public_url to that URL, or log in without cookies.";
    CookiesBlocked "cookies_blocked" BAD_REQUEST
        "The browser would drop the cookies: page and service belong to different sites. Open the \
         page under the host name that it uses for the service (localhost and 127.0.0.1 are two \
         sites), or set cookies.same_site to none, which needs https.";
    InvalidCredentials "invalid_credentials" UNAUTHORIZED
        "The e-mail address or the password is wrong.";
    SecondFactorRequired "second_factor_required" UNAUTHORIZED
        "Send a code of the authenticator app, or a recovery code, with the factor token to \
         /login/factor.";
    InvalidSecondFactor "invalid_second_factor" UNAUTHORIZED
        "The code is wrong or was used before.";
    InsufficientUserAuthentication "insufficient_user_authentication" UNAUTHORIZED
        "The last login is too long ago. Prove the password, and the second factor if there is one, \
         at /me/reauthenticate.";
    MissingToken "missing_token" UNAUTHORIZED
        "Send an access token in the Authorization header, with the scheme Bearer, or in the cookie \
         of a login with cookies; from a page, call fetch with credentials: 'include'.";
    InvalidToken "invalid_token" UNAUTHORIZED
        "The access token is not valid.";
    TokenExpired "token_expired" UNAUTHORIZED
        "The access token has expired.";
    TokenRevoked "token_revoked" UNAUTHORIZED
        "The access token was revoked.";
    InvalidClient "invalid_client" UNAUTHORIZED
        "The client is unknown, or its credentials are wrong or missing.";
    UnknownClient "unknown_client" BAD_REQUEST
        "A public client with this id does not exist.";
    UnsupportedGrantType "unsupported_grant_type" BAD_REQUEST
        "The grant type is not one of those in the metadata.";
    InvalidScope "invalid_scope" BAD_REQUEST
        "The scope exceeds the one that may be granted.";
    InvalidGrant "invalid_grant" UNAUTHORIZED
        "The refresh token is no longer valid. Log in again.";
    InvalidLink "invalid_link" BAD_REQUEST
        "The link or code is wrong, or is no longer valid. It may have worked already: try to log \
         in; otherwise request a new message.";
    EmailOff "email_off" NOT_IMPLEMENTED
        "This service sends no e-mail. Contact its operator.";
    WrongPassword "wrong_password" FORBIDDEN
        "The password is wrong.";
    RegistrationClosed "registration_closed" FORBIDDEN
        "Registration is closed. The operator of this service creates accounts.";
    SecondFactorSetupRequired "second_factor_setup_required" FORBIDDEN
        "This account needs a second factor. Set one up at /me/totp with the enrol token, then log \
         in.";
    FactorProofRequired "factor_proof_required" FORBIDDEN
        "This account has a second factor. Send a code of the authenticator app, or a recovery code, \
         as second_factor.";
    EmailUnverified "email_unverified" FORBIDDEN
        "The address of this account is not proven. Prove it at /me/email, or reset the password by \
         mail, then set up the second factor.";
    CsrfRefused "csrf_refused" FORBIDDEN
        "A request with cookies, or a form of /reset, must come from a page of this origin or of one \
         listed in cors.origins. Browsers describe that page in Sec-Fetch-Site and Origin.";
    Forbidden "forbidden" FORBIDDEN
        "This is not allowed.";
    InsufficientScope "insufficient_scope" FORBIDDEN
        "The access token lacks the scope of this operation.";
    NotFound "not_found" NOT_FOUND
        "The resource does not exist.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED
        "This resource does not support the method; see the Allow header.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT
        "The request took too long to arrive.";
    EmailTaken "email_taken" CONFLICT
        "An account with this e-mail address exists.";
    PreconditionFailed "precondition_failed" PRECONDITION_FAILED
        "The resource has changed since you read it. Read it again, and send the new entity tag in \
         If-Match.";
    PreconditionRequired "precondition_required" PRECONDITION_REQUIRED
        "Send the entity tag of the version that you have read in If-Match.";
    PayloadTooLarge "payload_too_large" PAYLOAD_TOO_LARGE
        "The body is too large.";
    UriTooLong "uri_too_long" URI_TOO_LONG
        "The URI is too long.";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE
        "Send the body as application/json in UTF-8, without a Content-Encoding.";
    ExpectationFailed "expectation_failed" EXPECTATION_FAILED
        "The only supported expectation is 100-continue.";
    HeadersTooLarge "headers_too_large" REQUEST_HEADER_FIELDS_TOO_LARGE
        "The header fields are too large.";
    RateLimited "rate_limited" TOO_MANY_REQUESTS
        "Too many requests. Try again later.";
    TooManyFailedLogins "too_many_failed_logins" TOO_MANY_REQUESTS
        "Too many failed logins. Try again later.";
    InternalError "internal_error" INTERNAL_SERVER_ERROR
        "Something went wrong. The log has details under the request's id.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE
        "The service is overloaded. Try again later.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE
        "The service is temporarily unavailable. Try again later.";
    RevocationsStale "revocations_stale" SERVICE_UNAVAILABLE
        "Revocation status is temporarily unavailable. Keep the token and retry.";
    NotReady "not_ready" SERVICE_UNAVAILABLE
        "This node is not ready.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_snake_case_and_an_error() {
        for code in Code::ALL {
            assert!(code.as_str().bytes().all(|b| b == b'_' || b.is_ascii_lowercase()));
            assert!(code.status().as_u16() >= 400);
            // It is quoted in WWW-Authenticate.
            assert!(code.detail().bytes().all(|b| b.is_ascii() && b != b'"' && b != b'\\'));
        }
    }
}
