//! The answers to each request.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{FEED, JWKS, METADATA, Request, State, ok, status};

/// The form-urlencoded pair, joined, in base64.
const AUTHORIZATION: &str = "Basic YmlsbGluZzpzM2NyZXQlMkZ3aXRoJTNBb2RkK29uZXM=";

/// The maximum number of entries in one event.
const ENTRIES: usize = 1_000;

impl State {
    pub(super) fn answer(&self, request: &Request, address: SocketAddr) -> String {
        let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
        match request.path.as_str() {
            METADATA => {
                let url = format!("http://{address}");
                let mut metadata = json!({
                    "issuer": url,
                    "jwks_uri": format!("{url}{JWKS}"),
                    "doorward_revocations_endpoint": format!("{url}{FEED}"),
                });
                for (name, value) in &self.metadata {
                    metadata[name] = value.clone();
                }
                ok("application/json", "", &metadata.to_string())
            }
            JWKS => {
                let keys: Vec<_> = self.keys.iter().map(|key| key.jwk()).collect();
                let kids: Vec<_> = self.keys.iter().map(|key| key.kid()).collect();
                let etag = format!("\"{}\"", kids.join("."));
                let cache = format!("ETag: {etag}\r\nCache-Control: {}\r\n", self.cache_control);
                if header("if-none-match") == etag {
                    return format!(
                        "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n{cache}\r\n"
                    );
                }
                ok("application/jwk-set+json", &cache, &json!({ "keys": keys }).to_string())
            }
            FEED if header("authorization") != AUTHORIZATION => status("401 Unauthorized"),
            FEED if header("accept") != "text/event-stream" => status("406 Not Acceptable"),
            FEED => {
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\r\n"
                    .to_owned()
            }
            _ => status("404 Not Found"),
        }
    }

    /// The log from there on, as one event or several. An interrupted list has no id to resume
    /// from.
    pub(super) fn events(&self, name: &str, from: usize) -> String {
        let id = format!("id: {}-{}\n", self.boot, self.revoked.len());
        let mut parts = self.revoked[from..].chunks(ENTRIES).peekable();
        let mut text = String::new();
        while let Some(part) = parts.next() {
            let entries = part.iter().map(|(id, exp)| json!({ "id": id, "exp": exp }));
            let entries: Value = entries.collect();
            let id = if parts.peek().is_none() { id.as_str() } else { "" };
            text += &[id, "event: ", name, "\ndata: ", &entries.to_string(), "\n\n"].concat();
        }
        text
    }

    pub(super) fn current(&self) -> String {
        let id = format!("{}-{}", self.boot, self.revoked.len());
        format!(": alive\nid: {id}\nevent: current\ndata: {{\"age\":{}}}\n\n", self.age)
    }

    /// The position from which a stream resumes, if this process has issued that id.
    pub(super) fn resumed(&self, request: &Request) -> Option<usize> {
        let (boot, number) = request.headers.get("last-event-id")?.split_once('-')?;
        let number = number.parse().ok().filter(|number| *number <= self.revoked.len())?;
        (boot.parse() == Ok(self.boot)).then_some(number)
    }
}
