//! Handlers that take memory when their arguments are there.

use actix_web::Handler;
use futures_util::future::LocalBoxFuture;

/// A handler whose future is made when its arguments have been extracted. Actix reserves room for a
/// handler's future from the head of the request on; for a login that is six times what reading the
/// body needs, for as long as the client lets the body wait.
#[derive(Clone, Copy)]
pub(in crate::http) struct Deferred<H>(H);

/// Defers a handler that takes a body.
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
