//! The strict rules of `strict.yaml`, added to the published description.

use serde_json::{Value, json};

/// Adds the rules of `strict.yaml` to the schemas that they are named after.
///
/// # Panics
/// When there is no schema or response of such a name.
pub(super) fn add(document: &mut Value, yaml: &str) {
    let mut rules: Value =
        serde_norway::from_str(yaml).unwrap_or_else(|error| panic!("strict.yaml: {error}"));
    for (name, rule) in super::members(Some(&rules["responses"])) {
        let response = &mut document["components"]["responses"][name.as_str()];
        let content = response.get_mut("content").and_then(Value::as_object_mut);
        let contents = content.unwrap_or_else(|| panic!("strict.yaml: no response {name}"));
        for media_type in contents.values_mut() {
            let published = media_type["schema"].take();
            media_type["schema"] = json!({ "allOf": [published, rule] });
        }
    }
    for (name, rule) in super::members(Some(&rules["schemas"])) {
        let schema = document["components"]["schemas"].get_mut(name);
        let schema = schema.unwrap_or_else(|| panic!("strict.yaml: no schema {name}"));
        assert!(schema.get("allOf").is_none(), "{name} has an allOf");
        schema["allOf"] = json!([rule]);
    }
    document["strict"] = rules["strict"].take();
}
