//! Handlers whose memory is allocated once their arguments are complete.

use actix_web::Handler;
use futures_util::future::LocalBoxFuture;

/// A handler whose future is created after its arguments have been extracted. Actix reserves memory
/// for a handler's future as soon as it has the head of a request; for a login that is six times
/// the memory that reading the body needs, for as long as the client delays the body.
#[derive(Clone, Copy)]
pub(in crate::http) struct Deferred<H>(H);

/// Wraps a handler that reads a body.
pub(in crate::http) const fn deferred<H>(handler: H) -> Deferred<H> {
    Deferred(handler)
}

impl<H, Arguments> Handler<Arguments> for Deferred<H>
where
    H: Handler<Arguments>,
    H::Future: 'static,
{
    type Output = H::Output;
    type Future = LocalBoxFuture<'static, H::Output>;

    fn call(&self, arguments: Arguments) -> Self::Future {
        Box::pin(self.0.call(arguments))
    }
}
