//! `openapi.yaml` as a contract: every answer that a test receives is held against it.
//!
//! An answer must belong to a declared operation and a declared status, have the declared media
//! type, every required header and a body that its schema allows. What belongs to no operation may
//! only be a refusal: 404 for an unknown path, 405 for an unknown method, or one of those that any
//! request can meet.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jsonschema::Validator;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Map, Value, json};

const OPENAPI: &str = include_str!("../../../openapi.yaml");

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Checks an answer against `openapi.yaml`, and notes that it was seen.
///
/// # Panics
/// When the contract does not allow it.
#[track_caller]
pub fn check(method: &str, path: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    Contract::load().check(method, path, status, headers, body);
}

/// A description of an API, and what has been seen of it.
pub struct Contract {
    document: Value,
    /// By the pointer of their schema: most answers share a few.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
    exercised: Mutex<BTreeSet<String>>,
}

/// What is wrong with an answer.
type Violation = String;

impl Contract {
    /// The one of `openapi.yaml`. There is one in the process, so that all tests together exercise
    /// it.
    pub fn load() -> &'static Self {
        static CONTRACT: OnceLock<Contract> = OnceLock::new();
        CONTRACT.get_or_init(|| Self::parse(OPENAPI))
    }

    fn parse(yaml: &str) -> Self {
        let mut document: Value =
            serde_norway::from_str(yaml).unwrap_or_else(|error| panic!("openapi.yaml: {error}"));
        document["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
        Self { document, validators: Mutex::default(), exercised: Mutex::default() }
    }

    /// Checks an answer, and notes that it was seen.
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
        let response = match self.find(method, path) {
            Found::Operation(name, operation) => self.declared(&name, &operation, status)?,
            // A preflight is CORS's own (Fetch 3.2.2), and no operation.
            Found::UnknownMethod | Found::UnknownPath
                if method == "OPTIONS" && status < 300 && body.is_empty() =>
            {
                return Ok(());
            }
            Found::UnknownMethod if status == 405 => self.component("MethodNotAllowed"),
            Found::UnknownPath if status == 404 => self.component("NotFound"),
            Found::UnknownMethod | Found::UnknownPath if status >= 400 => self.component("Refused"),
            Found::UnknownMethod => return Err("no operation has this method".into()),
            Found::UnknownPath => return Err("no operation has this path".into()),
        };
        self.check_headers(&response, headers)?;
        // An answer to HEAD has the headers of one with a body, and no body (RFC 9110 9.3.2).
        if method == "HEAD" { Ok(()) } else { self.check_body(&response, status, headers, body) }
    }

    /// Every operation as `GET /path/{parameter}`, to be compared with the router's.
    pub fn operations(&self) -> BTreeSet<String> {
        self.each_operation().map(|(name, _)| name).collect()
    }

    /// The codes that a problem can have.
    pub fn problem_codes(&self) -> Vec<String> {
        let codes = &self.document["components"]["schemas"]["ProblemCode"]["enum"];
        codes.as_array().into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
    }

    /// The declared answers that no check has seen, as `GET /path 200`. `default` does not count.
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
        let path = path.split('?').next().unwrap_or_default();
        // A literal path goes before one with parameters (OpenAPI 3.1, 4.8.8.2).
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

    fn declared<'a>(
        &'a self,
        name: &str,
        operation: &Node<'a>,
        status: u16,
    ) -> Result<Node<'a>, Violation> {
        let responses = operation.get("responses").ok_or("the operation declares no responses")?;
        if let Some(response) = responses.get(&status.to_string()) {
            lock(&self.exercised).insert(format!("{name} {status}"));
            return Ok(response);
        }
        let refusal = if status >= 400 { responses.get("default") } else { None };
        refusal.ok_or_else(|| format!("{name} declares no status {status}"))
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
            format!("the content type is {media_type:?}, and declared are {declared:?}")
        })?;
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
            // The schema in the midst of its document, so that its references find what they name.
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

enum Found<'a> {
    Operation(String, Node<'a>),
    UnknownMethod,
    UnknownPath,
}

/// A place in the document, with references followed.
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
        serde_json::from_slice(body).map_err(|error| format!("the body is no JSON: {error}"))
    } else {
        String::from_utf8(body.to_vec())
            .map(Value::String)
            .map_err(|_| "the body is no text".into())
    }
}

/// A field is text; where its schema says `integer`, the digits are meant.
fn header_value(schema: &Node<'_>, text: &str) -> Value {
    let number = if schema.value["type"] == "integer" { text.parse::<i64>().ok() } else { None };
    number.map_or_else(|| text.into(), Value::from)
}

/// What a problem says twice it says alike.
fn check_problem(status: u16, headers: &HeaderMap, problem: &Value) -> Result<(), Violation> {
    if problem["status"] != status {
        return Err(format!("the problem says status {}", problem["status"]));
    }
    let id = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    if problem["request_id"].as_str() != id {
        return Err(format!("X-Request-Id is {id:?}, the problem's {}", problem["request_id"]));
    }
    if problem["transient"] == true && !headers.contains_key("retry-after") {
        return Err("it is transient, and Retry-After is missing".into());
    }
    Ok(())
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// A test that failed a check has left nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

mod of_openapi_yaml {
    use super::*;

    #[test]
    fn every_example_fits_its_schema() {
        let contract = Contract::load();
        let mut count = 0;
        walk(&contract.root(), &mut |node| {
            let Some(schema) = node.get("schema") else {
                return;
            };
            let named: Vec<String> =
                members(node.value.get("examples")).map(|(name, _)| name.clone()).collect();
            let single = node.get("example").into_iter();
            for example in
                single.chain(named.iter().filter_map(|name| node.at(&["examples", name, "value"])))
            {
                count += 1;
                if let Err(error) = contract.fits(&schema, example.value) {
                    panic!("openapi.yaml: the example at {}: {error}", example.pointer);
                }
            }
        });
        assert!(count > 40, "{count} examples");
    }

    #[test]
    fn everything_with_a_schema_of_its_own_has_an_example() {
        walk(&Contract::load().root(), &mut |node| {
            let has_schema = node.value.get("schema").is_some();
            let has_example = node.value.get("example").or(node.value.get("examples")).is_some();
            assert!(!has_schema || has_example, "openapi.yaml: no example at {}", node.pointer);
        });
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_stands_for_every_refusal() {
        let contract = Contract::load();
        let mut names = BTreeSet::new();
        for (operation, node) in contract.each_operation() {
            let name = node.value["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name.to_owned()), "{operation}: {name:?}");
            assert!(node.at(&["responses", "default"]).is_some(), "{operation}: no default");
            assert!(node.value.get("security").is_some(), "{operation}: for whom is it?");
        }
    }

    #[test]
    fn every_answer_names_its_request_and_says_who_may_keep_it() {
        let contract = Contract::load();
        let of_operations = contract.each_operation().filter_map(|(_, node)| node.get("responses"));
        for responses in of_operations.chain(contract.root().at(&["components", "responses"])) {
            for (status, _) in members(Some(responses.value)) {
                for header in ["X-Request-Id", "Cache-Control"] {
                    let node = responses.at(&[status, "headers", header]);
                    let required = node.is_some_and(|node| node.value["required"] == true);
                    assert!(required, "{} {status}: {header}", responses.pointer);
                }
            }
        }
    }

    #[test]
    fn every_problem_code_has_exactly_one_status_and_an_explanation() {
        let contract = Contract::load();
        let problem = &contract.document["components"]["schemas"]["Problem"];
        let mut with_status: Vec<&str> = Vec::new();
        for branch in problem["oneOf"].as_array().into_iter().flatten() {
            let code = &branch["properties"]["code"];
            let several = code["enum"].as_array().into_iter().flatten();
            with_status.extend(several.chain(code.get("const")).filter_map(Value::as_str));
        }
        with_status.sort_unstable();
        let mut codes = contract.problem_codes();
        codes.sort_unstable();
        assert_eq!(codes, with_status);
        let text = problem["description"].as_str().unwrap_or_default();
        for code in codes {
            assert!(text.contains(&format!("| `{code}` |")), "{code} is not explained");
        }
    }

    #[test]
    fn the_version_is_the_packages() {
        assert_eq!(Contract::load().document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    /// Visits every object of the document, but for what examples hold and what references repeat.
    fn walk(node: &Node<'_>, visit: &mut dyn FnMut(&Node<'_>)) {
        visit(node);
        for (name, value) in members(Some(node.value)) {
            if value.get("$ref").is_none() && name != "example" && name != "examples" {
                node.get(name).iter().for_each(|child| walk(child, visit));
            }
        }
    }
}

mod of_made_up_cases {
    use super::*;

    const ID: &str = "7d1f0b52-4d1c-4d6e-9a53-0f5f6d0c2b11";

    const YAML: &str = r"
        openapi: 3.1.0
        paths:
          /things/{id}:
            get:
              responses:
                '200':
                  headers:
                    X-Count: { required: true, schema: { type: integer, minimum: 1 } }
                    X-Note: { schema: { pattern: '^[a-z]+$' } }
                  content:
                    application/json:
                      schema: { $ref: '#/components/schemas/Thing' }
                '204': { description: nothing }
                default: { $ref: '#/components/responses/Refused' }
          /things/best:
            post:
              responses:
                '201': { description: made }
        components:
          responses:
            NotFound: { $ref: '#/components/responses/Refused' }
            MethodNotAllowed:
              headers: { Allow: { required: true, schema: { type: string } } }
              content: { application/problem+json: { schema: { $ref: '#/components/schemas/Problem' } } }
            Refused:
              content: { application/problem+json: { schema: { $ref: '#/components/schemas/Problem' } } }
          schemas:
            Thing:
              type: object
              additionalProperties: false
              required: [id]
              properties: { id: { type: string, format: uuid } }
            Problem:
              type: object
              required: [status, code]
              properties: { code: { $ref: '#/components/schemas/ProblemCode' } }
            ProblemCode: { enum: [not_found, broken] }
        ";

    fn contract() -> Contract {
        Contract::parse(YAML)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn json_headers(more: &[(&'static str, &str)]) -> HeaderMap {
        headers(&[&[("content-type", "application/json; charset=utf-8")], more].concat())
    }

    fn thing() -> Vec<u8> {
        json!({ "id": ID }).to_string().into_bytes()
    }

    /// A problem, and the headers that it comes with.
    fn problem(status: u16, more: &[(&'static str, &str)]) -> (HeaderMap, Vec<u8>) {
        let own = [("content-type", "application/problem+json"), ("x-request-id", ID)];
        let body = json!({ "status": status, "code": "not_found", "request_id": ID });
        (headers(&[&own, more].concat()), body.to_string().into_bytes())
    }

    fn violation(
        method: &str,
        path: &str,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> String {
        contract().verify(method, path, status, headers, body).unwrap_err()
    }

    #[test]
    fn what_is_declared_passes() {
        let contract = contract();
        let good = json_headers(&[("x-count", "3")]);
        assert_eq!(contract.verify("GET", "/things/7?full=1", 200, &good, &thing()), Ok(()));
        assert_eq!(
            contract.verify(
                "GET",
                "/things/best",
                405,
                &problem(405, &[("allow", "POST")]).0,
                &problem(405, &[]).1
            ),
            Ok(())
        );
        assert_eq!(contract.verify("POST", "/things/best", 201, &headers(&[]), b""), Ok(()));
        let (of_problem, body) = problem(500, &[]);
        assert_eq!(contract.verify("GET", "/things/7", 500, &of_problem, &body), Ok(()));
        let (of_problem, body) = problem(404, &[]);
        assert_eq!(contract.verify("GET", "/nowhere", 404, &of_problem, &body), Ok(()));
        assert_eq!(contract.verify("OPTIONS", "/things/7", 200, &headers(&[]), b""), Ok(()));
        assert_eq!(
            contract.verify("HEAD", "/things/7", 405, &headers(&[("allow", "GET")]), b""),
            Ok(())
        );
    }

    #[test]
    fn an_undeclared_operation_or_status_is_a_violation() {
        let good = json_headers(&[("x-count", "3")]);
        assert_eq!(
            violation("GET", "/nowhere", 200, &good, &thing()),
            "no operation has this path"
        );
        assert_eq!(
            violation("GET", "/things/", 200, &good, &thing()),
            "no operation has this path"
        );
        assert_eq!(violation("PUT", "/things/7", 200, &good, b""), "no operation has this method");
        assert_eq!(
            violation("GET", "/things/7", 202, &good, b""),
            "GET /things/{id} declares no status 202"
        );
        let (of_problem, body) = problem(400, &[]);
        assert_eq!(
            violation("POST", "/things/best", 400, &of_problem, &body),
            "POST /things/best declares no status 400"
        );
    }

    #[test]
    fn a_missing_or_wrong_header_is_a_violation() {
        let of = |more: &[(&'static str, &str)]| {
            violation("GET", "/things/7", 200, &json_headers(more), &thing())
        };
        assert_eq!(of(&[]), "the header X-Count is missing");
        assert!(of(&[("x-count", "0")]).contains("X-Count: 0 is less than the minimum"));
        assert!(of(&[("x-count", "many")]).contains("X-Count: \"many\" is not of type"));
        assert!(of(&[("x-count", "1"), ("x-note", "UP")]).contains("X-Note"));
        let (without_allow, body) = problem(405, &[]);
        assert_eq!(
            violation("PUT", "/things/7", 405, &without_allow, &body),
            "the header Allow is missing"
        );
    }

    #[test]
    fn another_content_type_or_an_undeclared_body_is_a_violation() {
        let text = headers(&[("content-type", "text/plain"), ("x-count", "3")]);
        assert!(violation("GET", "/things/7", 200, &text, &thing()).contains("text/plain"));
        let bare = headers(&[("x-count", "3")]);
        assert!(violation("GET", "/things/7", 200, &bare, b"").contains("content type is \"\""));
        assert_eq!(
            violation("GET", "/things/7", 204, &bare, b"x"),
            "a body where none is declared"
        );
    }

    #[test]
    fn a_body_that_its_schema_does_not_allow_is_a_violation() {
        let good = json_headers(&[("x-count", "3")]);
        let of = |body: &str| violation("GET", "/things/7", 200, &good, body.as_bytes());
        assert!(of("{").contains("no JSON"));
        assert!(of("{}").contains("\"id\" is a required property"));
        assert!(of(r#"{"id":"7"}"#).contains("uuid"));
        assert!(of(&json!({ "id": ID, "colour": "red" }).to_string()).contains("colour"));
    }

    #[test]
    fn a_problem_that_contradicts_itself_is_a_violation() {
        let of = |status: u16, headers: &HeaderMap, body: &Value| {
            violation("GET", "/nowhere", status, headers, body.to_string().as_bytes())
        };
        let (headers, _) = problem(404, &[]);
        let with = |status: u16, code: &str, id: &str| json!({ "status": status, "code": code, "request_id": id });
        assert_eq!(of(404, &headers, &with(500, "broken", ID)), "the problem says status 500");
        assert!(of(404, &headers, &with(404, "broken", "other")).starts_with("X-Request-Id is"));
        assert!(of(404, &headers, &with(404, "unheard_of", ID)).contains("unheard_of"));
        let mut transient = with(404, "broken", ID);
        transient["transient"] = json!(true);
        assert!(of(404, &headers, &transient).contains("Retry-After"));
    }

    #[test]
    fn what_was_seen_is_counted() {
        let contract = contract();
        assert_eq!(
            contract.operations().into_iter().collect::<Vec<_>>(),
            ["GET /things/{id}", "POST /things/best"]
        );
        assert_eq!(contract.problem_codes(), ["not_found", "broken"]);
        let all = ["GET /things/{id} 200", "GET /things/{id} 204", "POST /things/best 201"];
        let sorted = || {
            let mut answers = contract.unexercised();
            answers.sort_unstable();
            answers
        };
        assert_eq!(sorted(), all);
        contract.check("GET", "/things/7", 204, &HeaderMap::new(), b"");
        assert_eq!(sorted(), [all[0], all[2]]);
    }

    #[test]
    #[should_panic(
        expected = "against openapi.yaml: GET /nowhere -> 200: no operation has this path"
    )]
    fn a_violation_fails_the_test() {
        contract().check("GET", "/nowhere", 200, &HeaderMap::new(), b"");
    }

    #[test]
    fn the_schemas_are_compiled_once() {
        let contract = contract();
        let (headers, body) = problem(404, &[]);
        for path in ["/a", "/b", "/c"] {
            contract.check("GET", path, 404, &headers, &body);
        }
        assert_eq!(lock(&contract.validators).len(), 1);
    }
}
