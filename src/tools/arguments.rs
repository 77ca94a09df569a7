//! Checks a model's arguments against the tool's JSON schema, with errors that the model can act on.
//! Knows the few words of JSON Schema that tools use: type, enum, required, properties.

use serde_json::{Map, Value};

/// Longest argument, in characters: nobody says more in one go.
const LONGEST: usize = 1_000;

/// The arguments by name, or what is wrong with them, all at once. Absent optional ones are null.
pub(super) fn validate(schema: &Value, arguments: &str) -> Result<Map<String, Value>, String> {
    // Some models send nothing at all for a tool without arguments.
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let given: Value =
        serde_json::from_str(text).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    let Value::Object(given) = given else { return Err("the arguments must be one JSON object".to_owned()) };
    let none = Map::new();
    let declared = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut wrong = Vec::new();
    for name in given.keys().filter(|name| !declared.contains_key(*name)) {
        let names: Vec<&str> = declared.keys().map(String::as_str).collect();
        wrong.push(format!("{name:?} is not an argument; the arguments are: {}", names.join(", ")));
    }
    let mut values = Map::new();
    for (name, property) in declared {
        let value = given.get(name).cloned().unwrap_or(Value::Null);
        if value.is_null() && required.contains(&name.as_str()) {
            wrong.push(format!("{name:?} is missing"));
        } else if let Err(error) = check(property, &value) {
            wrong.push(format!("{name:?} {error}"));
        }
        values.insert(name.clone(), value);
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong.join("; ")) }
}

fn check(property: &Value, value: &Value) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    let right = match property.get("type").and_then(Value::as_str) {
        Some("string") | None if value.as_str().is_some_and(|text| text.chars().count() > LONGEST) => {
            return Err(format!("is longer than {LONGEST} characters"));
        }
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        // A statement has no use for anything else.
        Some(_) | None => !value.is_object() && !value.is_array(),
    };
    if !right {
        let wanted = property.get("type").and_then(Value::as_str).unwrap_or("simple value");
        return Err(format!("must be of type {wanted}"));
    }
    match property.get("enum").and_then(Value::as_array) {
        Some(allowed) if !allowed.contains(value) => {
            let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
            Err(format!("must be one of {}", allowed.join(", ")))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "day": { "type": "string" },
                "people": { "type": "integer" },
                "part": { "type": "string", "enum": ["morning", "afternoon"] }
            },
            "required": ["day"]
        })
    }

    #[test]
    fn good_arguments_pass_and_absent_ones_are_null() {
        let values = validate(&schema(), r#"{"day":"2026-10-14","people":2}"#).expect("they are good");
        assert_eq!(Value::Object(values), json!({ "day": "2026-10-14", "people": 2, "part": null }));
    }

    #[test]
    fn the_model_is_told_everything_that_is_wrong_at_once() {
        let error =
            validate(&schema(), r#"{"dya":"x","people":"two","part":"night"}"#).expect_err("all is wrong");
        for part in [
            "\"dya\" is not an argument",
            "\"day\" is missing",
            "\"people\" must be of type integer",
            "one of",
        ] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (nonsense, word) in
            [("{", "not JSON"), ("[1]", "one JSON object"), (r#"{"day":{"a":1}}"#, "type string")]
        {
            let error = validate(&schema(), nonsense).expect_err("it is nonsense");
            assert!(error.contains(word), "{error}");
        }
        let long = format!(r#"{{"day":"{}"}}"#, "9".repeat(1_001));
        assert!(validate(&schema(), &long).expect_err("it is too long").contains("longer"));
    }

    #[test]
    fn no_arguments_at_all_are_an_empty_object() {
        assert_eq!(validate(&json!({}), " "), Ok(Map::new()));
        assert!(validate(&schema(), "").expect_err("day is required").contains("missing"));
    }
}
