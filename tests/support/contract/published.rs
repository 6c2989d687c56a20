//! `openapi.yaml` as generators of clients read it. Ten generators were tried: each construct that
//! is rejected here made at least one of them fail, or produce a client that fails.

use std::collections::BTreeSet;

use super::*;

/// Keywords of JSON Schema that a generator ignores, or turns into types that nobody can use.
const FORBIDDEN: [&str; 12] = [
    "allOf",
    "anyOf",
    "const",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "not",
    "oneOf",
    "patternProperties",
    "then",
    "unevaluatedProperties",
];

/// Formats that generators have a type for, which has no pattern.
const TYPED_FORMATS: [&str; 3] = ["date-time", "uuid", "uri"];

/// Words that generators put before or after a name of the description to name types of their own.
const BEFORE: [&str; 1] = ["New"];
const AFTER: [&str; 8] =
    ["Response", "Request", "Params", "Body", "Data", "Error", "Errors", "Responses"];

#[test]
fn its_schemas_are_plain() {
    let document = document();
    let mut count = 0;
    for_each_schema(&document, "", &mut |pointer, schema| {
        count += 1;
        for keyword in FORBIDDEN {
            assert!(schema.get(keyword).is_none(), "openapi.yaml: {keyword} at {pointer}");
        }
        assert!(schema.get("type").is_some(), "openapi.yaml: no type at {pointer}");
        if schema["type"] == "array" {
            assert!(schema.get("items").is_some(), "openapi.yaml: no items at {pointer}");
        }
        let is_typed = schema["format"].as_str().is_some_and(|it| TYPED_FORMATS.contains(&it));
        assert!(!is_typed || schema.get("pattern").is_none(), "openapi.yaml: {pointer}");
    });
    assert!(count > 100, "{count} schemas");
}

#[test]
fn no_default_makes_a_member_required() {
    for_each_schema(&document(), "", &mut |pointer, schema| {
        let is_member = pointer.contains("/properties/") || pointer.contains("/schemas/");
        assert!(!is_member || schema.get("default").is_none(), "openapi.yaml: {pointer}");
    });
}

#[test]
fn no_two_names_make_the_same_type() {
    let document = document();
    let components = &document["components"];
    let mut names = BTreeSet::new();
    for kind in ["schemas", "responses", "parameters"] {
        for (name, _) in members(components.get(kind)) {
            assert!(names.insert(name.clone()), "openapi.yaml: {name} is there twice");
        }
    }
    let mut made = BTreeSet::new();
    for operation in Contract::load().each_operation().map(|(_, node)| node.value.clone()) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        let id = id[..1].to_uppercase() + &id[1..];
        made.extend(AFTER.iter().map(|word| format!("{id}{word}")));
    }
    for (name, _) in members(components.get("schemas")) {
        made.extend(BEFORE.iter().map(|word| format!("{word}{name}")));
        made.extend(AFTER.iter().map(|word| format!("{name}{word}")));
    }
    let twice: Vec<_> = names.intersection(&made).collect();
    assert!(twice.is_empty(), "openapi.yaml: generators also make the names {twice:?}");
}

#[test]
fn no_alternative_of_the_security_is_there_twice() {
    for (name, node) in Contract::load().each_operation() {
        let alternatives = node.value["security"].as_array().cloned().unwrap_or_default();
        let different: BTreeSet<String> = alternatives.iter().map(Value::to_string).collect();
        assert_eq!(different.len(), alternatives.len(), "openapi.yaml: {name}");
    }
}

/// The description without the strict rules.
fn document() -> Value {
    serde_norway::from_str(OPENAPI).unwrap()
}

/// Visits every schema that is not a reference.
fn for_each_schema(value: &Value, pointer: &str, visit: &mut dyn FnMut(&str, &Value)) {
    let is_schema = pointer.ends_with("/schema")
        || pointer.ends_with("/items")
        || pointer.rsplit('/').nth(1) == Some("properties")
        || pointer.starts_with("/components/schemas/") && pointer.matches('/').count() == 3;
    if is_schema && value.get("$ref").is_none() {
        visit(pointer, value);
    }
    for (name, child) in members(Some(value)) {
        if name != "example" && name != "examples" {
            for_each_schema(child, &format!("{pointer}/{}", name.replace('/', "~1")), visit);
        }
    }
}
