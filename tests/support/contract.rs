//! `openapi.yaml` as a contract: every response in a test is checked against it, and against the
//! strict rules in `contract/strict.yaml`.
//!
//! A response must belong to a declared operation and a declared status, have the declared media
//! type, every required header and a body that its schema allows. Without an operation it may only
//! be an error: 404 for an unknown path, 405 for an unknown method, or one that any request can
//! get.

#[cfg(test)]
mod published;
mod strict;
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};

const OPENAPI: &str = include_str!("../../openapi.yaml");
const STRICT: &str = include_str!("contract/strict.yaml");

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Paths whose errors have the form of RFC 6749 5.2, for every method.
const OAUTH: [&str; 3] = ["/token", "/introspect", "/revoke"];

/// Checks a response against `openapi.yaml`, and records it as seen.
///
/// # Panics
/// When the contract does not allow it.
#[track_caller]
pub fn check(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    Contract::load().check(method, path, status, headers, body);
}

/// A description of an API, and the responses seen so far.
pub struct Contract {
    document: Value,
    /// By the pointer of their schema: most responses share a few.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    exercised: Mutex<BTreeSet<String>>,
}

/// A violation of the contract.
type Violation = String;

impl Contract {
    /// The contract in `openapi.yaml`. There is one in the process, so that all tests together
    /// exercise it.
    pub fn load() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| Self::parse(OPENAPI, STRICT))
    }

    fn parse(yaml: &str, strict: &str) -> Self {
        let mut document: Value =
            serde_norway::from_str(yaml).unwrap_or_else(|error| panic!("openapi.yaml: {error}"));
        strict::add(&mut document, strict);
        document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        Self { document, validators: Mutex::default(), exercised: Mutex::default() }
    }

    /// Checks a response, and records it as seen.
    ///
    /// # Panics
    /// When the contract does not allow it.
    #[track_caller]
    pub fn check(&self, method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
        if let Err(violation) = self.verify(method, path, status, headers, body) {
            let body = String::from_utf8_lossy(body);
            panic!(
                "against openapi.yaml: {method} {path} -> {status}: {violation}\n{headers:#?}\n{body}"
            );
        }
    }

    fn verify(
        &self,
        method: &str,
        path: &str,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Violation> {
        // HEAD is answered like GET (RFC 9110 9.3.2), and exercises nothing.
        let asked = if method == "HEAD" { "GET" } else { method };
        let response = match self.find(asked, path) {
            Found::Operation(name, operation) => {
                let response = declared(&name, &operation, status)?;
                if method == asked && operation.at(&["responses", &status.to_string()]).is_some() {
                    lock(&self.exercised).insert(format!("{name} {status}"));
                }
                response
            }
            // A preflight belongs to CORS (Fetch 3.2.2), and is not an operation.
            Found::UnknownMethod | Found::UnknownPath
                if method == "OPTIONS" && status < 300 && body.is_empty() =>
            {
                return Ok(());
            }
            Found::UnknownMethod if status >= 400 && OAUTH.contains(&without_query(path)) => {
                let name = if status == 405 { "OAuthMethodNotAllowed" } else { "OAuthRefused" };
                self.component(name)
            }
            Found::UnknownMethod if status == 405 => self.component("MethodNotAllowed"),
            Found::UnknownPath if status == 404 => self.component("NotFound"),
            Found::UnknownMethod | Found::UnknownPath if status >= 400 => self.component("Refused"),
            Found::UnknownMethod => return Err("no operation has this method".into()),
            Found::UnknownPath => return Err("no operation has this path".into()),
        };
        self.check_headers(&response, headers)?;
        // A response to HEAD has the headers of one with a body, and no body (RFC 9110 9.3.2).
        if method == "HEAD" { Ok(()) } else { self.check_body(&response, status, headers, body) }
    }

    /// Every operation as `GET /path/{parameter}`, to be compared with the router's.
    pub fn operations(&self) -> BTreeSet<String> {
        self.each_operation().map(|(name, _)| name).collect()
    }

    /// The operations of the admin API, each with its scope.
    pub fn operator_scopes(&self) -> Vec<(String, String)> {
        let of = |operation: Node<'_>| {
            let scope = operation.get("security")?.value.pointer("/0/operator/0")?.as_str()?;
            Some(scope.to_owned())
        };
        self.each_operation().filter_map(|(name, node)| Some((name, of(node)?))).collect()
    }

    /// The codes that a problem can have.
    pub fn problem_codes(&self) -> Vec<String> {
        let codes = &self.document["components"]["schemas"]["ProblemCode"]["enum"];
        codes.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
    }

    /// The declared responses that no check has seen, as `GET /path 200`. `default` does not count.
    pub fn unexercised(&self) -> Vec<String> {
        let exercised = lock(&self.exercised);
        self.each_operation()
            .flat_map(|(name, operation)| {
                let statuses = members(operation.get("responses").map(|it| it.value));
                statuses.map(move |(status, _)| format!("{name} {status}")).collect::<Vec<_>>()
            })
            .filter(|answer| !answer.ends_with(" default") && !exercised.contains(answer))
            .collect()
    }

    fn each_operation(&self) -> impl Iterator<Item = (String, Node<'_>)> {
        members(self.document.get("paths")).flat_map(move |(template, _)| {
            METHODS.iter().filter_map(move |method| {
                let operation = self.root().get("paths")?.get(template)?.get(method)?;
                Some((format!("{} {template}", method.to_uppercase()), operation))
            })
        })
    }

    fn find(&self, method: &str, path: &str) -> Found<'_> {
        let path = without_query(path);
        // A literal path takes precedence over one with parameters (OpenAPI 3.1, 4.8.8.2).
        let matching: Option<&String> = members(self.document.get("paths"))
            .map(|(template, _)| template)
            .filter(|template| matches(template, path))
            .min_by_key(|template| template.matches('{').count());
        let Some(template) = matching else {
            return Found::UnknownPath;
        };
        let name = format!("{method} {template}");
        match self.each_operation().find(|(candidate, _)| *candidate == name) {
            Some((name, operation)) => Found::Operation(name, operation),
            None => Found::UnknownMethod,
        }
    }

    fn component(&self, name: &str) -> Node<'_> {
        let response = self.root().at(&["components", "responses", name]);
        response.unwrap_or_else(|| panic!("openapi.yaml has no components/responses/{name}"))
    }

    fn check_headers(&self, response: &Node<'_>, headers: &HeaderMap) -> Result<(), Violation> {
        let Some(declared) = response.get("headers") else {
            return Ok(());
        };
        for (name, _) in members(Some(declared.value)) {
            let header = declared.get(name).ok_or_else(|| format!("{name} leads nowhere"))?;
            let Some(value) = headers.get(name) else {
                if header.value["required"] == true {
                    return Err(format!("the header {name} is missing"));
                }
                continue;
            };
            let text = value.to_str().map_err(|_| format!("the header {name} is not ASCII"))?;
            if let Some(schema) = header.get("schema") {
                self.fits(&schema, &header_value(&schema, text))
                    .map_err(|error| format!("the header {name}: {error}"))?;
            }
        }
        Ok(())
    }

    fn check_body(
        &self,
        response: &Node<'_>,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Violation> {
        let Some(content) = response.get("content") else {
            return if body.is_empty() {
                Ok(())
            } else {
                Err("a body where none is declared".into())
            };
        };
        let media_type = media_type(headers);
        let schema = content.get(&media_type).and_then(|it| it.get("schema")).ok_or_else(|| {
            let declared: Vec<&String> =
                members(Some(content.value)).map(|(name, _)| name).collect();
            format!("the content type is {media_type:?}, but the declared ones are {declared:?}")
        })?;
        if headers.contains_key(CONTENT_ENCODING) {
            // Compressed text, which has no schema.
            return Ok(());
        }
        let value = parse_body(&media_type, body)?;
        self.fits(&schema, &value)?;
        if media_type == "application/problem+json" {
            check_problem(status, headers, &value)?;
        }
        Ok(())
    }

    fn fits(&self, schema: &Node<'_>, value: &Value) -> Result<(), Violation> {
        let validator = self.validator(&schema.pointer);
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{error} (at {:?})", error.instance_path().to_string()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    fn validator(&self, pointer: &str) -> Arc<Validator> {
        let mut validators = lock(&self.validators);
        let made = validators.entry(pointer.to_owned()).or_insert_with(|| {
            // The schema inside its document, so that its references can be resolved.
            let mut schema = self.document.clone();
            schema["$ref"] = json!(format!("#{}", pointer.replace('{', "%7B").replace('}', "%7D")));
            let validator = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&schema)
                .unwrap_or_else(|error| panic!("openapi.yaml: the schema at {pointer}: {error}"));
            Arc::new(validator)
        });
        Arc::clone(made)
    }

    const fn root(&self) -> Node<'_> {
        Node { document: &self.document, pointer: String::new(), value: &self.document }
    }
}

fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

enum Found<'a> {
    Operation(String, Node<'a>),
    UnknownMethod,
    UnknownPath,
}

/// A node of the document, with references resolved.
#[derive(Clone)]
struct Node<'a> {
    document: &'a Value,
    pointer: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    fn get(&self, name: &str) -> Option<Self> {
        let pointer = format!("{}/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        let value = self.value.get(name)?;
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.follow(reference),
            None => Some(Self { document: self.document, pointer, value }),
        }
    }

    fn at(&self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self.clone(), |node, name| node.get(name))
    }

    fn follow(&self, reference: &str) -> Option<Self> {
        let pointer = reference.strip_prefix('#')?.to_owned();
        let value: &'a Value = self.document.pointer(&pointer)?;
        Some(Self { document: self.document, pointer, value })
    }
}

fn declared<'a>(name: &str, operation: &Node<'a>, status: u16) -> Result<Node<'a>, Violation> {
    let responses = operation.get("responses").ok_or("the operation declares no responses")?;
    let refusal = || if status >= 400 { responses.get("default") } else { None };
    let response = responses.get(&status.to_string()).or_else(refusal);
    response.ok_or_else(|| format!("{name} declares no status {status}"))
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given => {}
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let whole = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parse_body(media_type: &str, body: &[u8]) -> Result<Value, Violation> {
    if media_type.ends_with("json") {
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))
    } else {
        String::from_utf8(body.to_vec())
            .map(Value::String)
            .map_err(|_| "the body is not text".into())
    }
}

/// A header is text; if its schema says `integer`, it is parsed.
fn header_value(schema: &Node<'_>, text: &str) -> Value {
    let number = if schema.value["type"] == "integer" { text.parse::<i64>().ok() } else { None };
    number.map_or_else(|| text.into(), Value::from)
}

/// Redundant members of a problem must agree.
fn check_problem(status: u16, headers: &HeaderMap, problem: &Value) -> Result<(), Violation> {
    if problem["status"] != status {
        return Err(format!("the problem says status {}", problem["status"]));
    }
    let id = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    if problem["request_id"].as_str() != id {
        return Err(format!("X-Request-Id is {id:?}, the problem's {}", problem["request_id"]));
    }
    if problem["transient"] == true && !headers.contains_key("retry-after") {
        return Err("it is transient, but Retry-After is missing".into());
    }
    Ok(())
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// A failed check leaves no partial state.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
