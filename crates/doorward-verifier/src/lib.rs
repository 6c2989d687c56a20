//! Verification of access tokens in your own service: without a call to Doorward per request, and
//! with immediate revocation.
//!
//! A [`Verifier`] is configured with the issuer's URL. In the background it keeps the issuer's
//! public keys fresh and subscribes to its revocation feed; [`Verifier::verify`] then answers from
//! memory.
//!
//! # Use
//!
//! The crate is not on crates.io yet. Until then depend on a path to a clone of Doorward's
//! repository, or on its git URL:
//!
//! ```toml
//! [dependencies]
//! doorward-verifier = { path = "../doorward/crates/doorward-verifier" }
//! ```
//!
//! On the machine where Doorward runs, `doorward client add` creates a client for your service and
//! prints its id and secret. Then:
//!
//! ```no_run
//! use doorward_verifier::{Verifier, VerifyError};
//!
//! # async fn run(token: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::builder("https://login.example.com") // `public_url` of Doorward
//!     .audience("doorward")                                     // its setting `audience`
//!     // The id, not the name.
//!     .client("019ab3e1-0b52-7e90-a2c6-5d41f7b80a93", &std::env::var("DOORWARD_CLIENT_SECRET")?)
//!     .start()
//!     .await?;
//! verifier.ready().await; // until then every token is rejected
//!
//! match verifier.verify(token) {
//!     Ok(claims) => println!("user {} has {:?}", claims.sub, claims.scope),
//!     Err(error) if error.is_transient() => println!("503, retry later: {error}"),
//!     Err(error) => println!("401: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! With actix-web (feature `actix`) a handler takes `actix::Access`; for axum and other frameworks
//! that use tower (feature `tower`) there is `tower::VerifierLayer`.
//!
//! # Guarantees
//!
//! - **A revoked token is rejected** as soon as the feed reports it: milliseconds after the logout.
//!   A token is revoked by its `jti`, its session (`sid`), the key that signed it (`kid`), or the
//!   client that it was issued to (`client_id`).
//! - **Nothing is accepted before the list is complete.** A verifier that starts first loads all
//!   revocations. One that was disconnected for longer than [`Builder::max_staleness`] first
//!   receives those that it missed; until then [`Builder::when_stale`] decides about tokens.
//!   [`StalePolicy::FailOpen`] continues with an old list, but not without one: a verifier that has
//!   never reached the issuer accepts nothing. [`Verifier::staleness`] returns the age of the list.
//! - **A wrong clock does not revalidate a revoked token.** When the clock is set by more than 5
//!   seconds, or the machine was suspended, the list is stale until the feed has sent everything
//!   again; until then [`Builder::when_stale`] decides. Entries are not dropped as expired by a
//!   clock that was set.
//! - **A recent login can be required** with [`Verifier::max_auth_age`], for each request (RFC
//!   9470).
//! - **Forgeries are rejected**: the algorithm is the key's, never the token's choice; keys come
//!   from the issuer's key set only; claims are parsed strictly (RFC 8725, RFC 9068).
//! - **Bounded**: memory for revoked ids ([`Builder::max_revocations`]), for tokens
//!   ([`Builder::cached_tokens`]) and for the issuer's responses.
//!
//! # Background tasks
//!
//! - The metadata at `/.well-known/oauth-authorization-server` must name exactly this issuer, and
//!   endpoints on its own origin. Redirects are not followed.
//! - The key set is fetched again when the `max-age` of its `Cache-Control` has expired. If that
//!   fails, the old keys stay valid for one more day; after that every token is rejected with
//!   [`VerifyError::Stale`], regardless of the policy. A token with an unknown `kid` triggers an
//!   additional fetch, at most once in 5 seconds for all of them together;
//!   [`Verifier::verify_or_refetch`] waits for it.
//! - The feed is one connection that stays open. When it breaks, or does not report for 10 seconds
//!   (or [`Builder::max_staleness`], if that is shorter) that it is complete, it is reopened after
//!   at most 10 seconds. Malformed input is never ignored: the stream is closed, and all
//!   revocations are requested again.
//! - Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`) and the system's root certificates are
//!   used.
//!
//! The tasks run on the tokio runtime that [`Builder::start`] was called in and end when the last
//! clone of the verifier is dropped. They log to `tracing`; [`Verifier::last_error`] returns the
//! current error.

// Their samples are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../../../docs/verifying-tokens.md")]
struct Documentation;

#[cfg(feature = "actix")]
pub mod actix;
mod backoff;
mod builder;
mod issuer;
mod keys;
#[cfg(any(feature = "actix", feature = "tower"))]
mod rejection;
mod revocation_feed;
mod revocation_list;
mod shared;
mod sse;
mod suspend_aware_clock;
#[cfg(feature = "tower")]
pub mod tower;
mod verifier;
mod verify_error;

pub use builder::{Builder, StalePolicy, StartError};
pub use doorward_tokens::{Audience, Claims, TokenError, TokenId};
pub use issuer::DiscoveryError;
pub use verifier::Verifier;
pub use verify_error::VerifyError;

use shared::{Policy, Shared};
