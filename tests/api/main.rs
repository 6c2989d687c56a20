//! The whole API, over real sockets against the real service.

mod refresh;
mod support;
