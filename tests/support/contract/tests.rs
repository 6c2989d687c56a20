//! The contract is checked against itself, and against made-up responses.

mod of_openapi_yaml {
    use super::super::*;

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
    fn every_node_with_a_schema_has_an_example() {
        walk(&Contract::load().root(), &mut |node| {
            let has_schema = node.value.get("schema").is_some();
            let has_example = node.value.get("example").or(node.value.get("examples")).is_some();
            assert!(!has_schema || has_example, "openapi.yaml: no example at {}", node.pointer);
        });
    }

    #[test]
    fn every_operation_has_a_unique_id_a_default_response_and_its_security() {
        let contract = Contract::load();
        let mut names = BTreeSet::new();
        for (operation, node) in contract.each_operation() {
            let name = node.value["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name.to_owned()), "{operation}: {name:?}");
            assert!(node.at(&["responses", "default"]).is_some(), "{operation}: no default");
            assert!(node.value.get("security").is_some(), "{operation}: its security is missing");
        }
    }

    #[test]
    fn every_response_has_a_request_id_and_a_cache_policy() {
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
        for branch in problem["allOf"][0]["oneOf"].as_array().into_iter().flatten() {
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

    /// Visits every object of the document, except the contents of examples and repeated
    /// references.
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
    use super::super::*;

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
        Contract::parse(YAML, "strict: {}")
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

    /// A problem, and its headers.
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
    fn declared_responses_pass() {
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
        assert!(of("{").contains("not JSON"));
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
    fn seen_responses_are_counted() {
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
