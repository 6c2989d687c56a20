//! The admin API: accounts, their sessions, clients and security events.

pub(in crate::http) mod audit;
pub(in crate::http) mod clients;
pub(in crate::http) mod sessions;
pub(in crate::http) mod users;

use crate::database::Id;
use crate::http::problem::{Code, Problem};

/// The longest page of a list.
const MAX_PAGE: u32 = 200;

/// The length of a page without `limit`.
const PAGE: u32 = 50;

/// The number of entries of a page.
fn page_length(limit: Option<u32>) -> Result<u32, Problem> {
    let limit = limit.unwrap_or(PAGE);
    if (1..=MAX_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::new(Code::MalformedRequest).detail("limit must be from 1 to 200."))
}

/// An id in a path; 404 for a text that is not an id.
fn id(text: &str) -> Result<Id, Problem> {
    Ok(Id::parse(text).ok_or(Code::NotFound)?)
}
