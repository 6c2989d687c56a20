//! Errors about a member that does not fit its type.

use serde_path_to_error::{Path, Segment};

use crate::http::problem::{Code, Problem};

/// Names the member that does not fit. Serde's own message would quote the value.
pub(super) fn describe_type_error(
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Problem {
    let message = error.inner().to_string();
    let at = pointer(error.path());
    let quoted = || message.split('`').nth(1).unwrap_or_default();
    let (at, detail) = if message.starts_with("missing field") {
        (format!("{at}/{}", escape(quoted())), String::from("This member is required."))
    } else if message.starts_with("unknown field") {
        let at = if at.is_empty() { format!("/{}", escape(quoted())) } else { at };
        (at, String::from("Unknown field."))
    } else if let Some((_, expected)) = message.rsplit_once(", expected ") {
        (at, format!("Expected {expected}."))
    } else {
        (at, String::from("This value is not acceptable."))
    };
    Problem::new(Code::MalformedRequest)
        .detail("The body does not match the expected schema.")
        .field(at, detail)
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// Long names are cut: they come from the caller.
fn escape(name: &str) -> String {
    name.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}
