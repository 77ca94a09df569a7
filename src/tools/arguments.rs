//! Checks a model's arguments against the tool's JSON schema, with errors that the model can act on.
//! Knows the words of JSON Schema that tools use: type, enum, required, properties, items and bounds.

use serde_json::{Map, Value};

/// Longest argument, in characters: nobody says more in one go.
const LONGEST: usize = 1_000;
/// Items of a list.
const MOST_ITEMS: usize = 100;

/// Values inside values: deeper than any form that can be filled in by talking.
const DEEPEST: usize = 6;

/// The arguments by name, or what is wrong with them, all at once. Absent optional ones are null.
pub(super) fn validate(schema: &Value, arguments: &str) -> Result<Map<String, Value>, String> {
    // Some models send nothing at all for a tool without arguments.
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    let given: Value =
        serde_json::from_str(text).map_err(|error| format!("the arguments are not JSON: {error}"))?;
    let Value::Object(mut values) = given else {
        return Err("the arguments must be one JSON object".to_owned());
    };
    let mut wrong = Vec::new();
    object(schema, &values, "", 0, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong.join("; "));
    }
    for name in schema.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        values.entry(name.clone()).or_insert(Value::Null);
    }
    Ok(values)
}

/// Without the optional ones that are absent, for servers that tell null from nothing.
pub(super) fn named_values(values: &Map<String, Value>) -> Map<String, Value> {
    let present = values.iter().filter(|(_, value)| !value.is_null());
    present.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn object(schema: &Value, given: &Map<String, Value>, path: &str, depth: usize, wrong: &mut Vec<String>) {
    let none = Map::new();
    let declared = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        for name in given.keys().filter(|name| !declared.contains_key(*name)) {
            let names: Vec<&str> = declared.keys().map(String::as_str).collect();
            wrong.push(format!(
                "{:?} is not an argument; the arguments are: {}",
                within(path, name),
                names.join(", ")
            ));
        }
    }
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let required: Vec<&str> = required.filter_map(Value::as_str).collect();
    for (name, property) in declared {
        let value = given.get(name).unwrap_or(&Value::Null);
        let at = within(path, name);
        if !value.is_null() {
            check(property, value, &at, depth, wrong);
        } else if required.contains(&name.as_str()) {
            wrong.push(format!("{at:?} is missing"));
        }
    }
    // What nobody declared is bounded all the same.
    for (name, value) in given.iter().filter(|(name, _)| !declared.contains_key(*name)) {
        check(&Value::Null, value, &within(path, name), depth, wrong);
    }
}

fn within(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn check(property: &Value, value: &Value, at: &str, depth: usize, wrong: &mut Vec<String>) {
    if depth >= DEEPEST {
        return wrong.push(format!("{at:?} is nested too deeply"));
    }
    let kinds: Vec<&str> = match property.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.and_then(Value::as_str).into_iter().collect(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, value)) {
        return wrong.push(format!("{at:?} must be of type {}", kinds.join(" or ")));
    }
    if let Some(allowed) =
        property.get("enum").and_then(Value::as_array).filter(|allowed| !allowed.contains(value))
    {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        return wrong.push(format!("{at:?} must be one of {}", allowed.join(", ")));
    }
    let bound = |name: &str| property.get(name).and_then(Value::as_f64);
    match value {
        Value::String(text) => {
            let most =
                property.get("maxLength").and_then(Value::as_u64).and_then(|most| usize::try_from(most).ok());
            let most = most.map_or(LONGEST, |most| most.min(LONGEST));
            if text.chars().count() > most {
                wrong.push(format!("{at:?} is longer than {most} characters"));
            }
        }
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            if bound("minimum").is_some_and(|least| number < least)
                || bound("maximum").is_some_and(|most| number > most)
            {
                let (least, most) = (bound("minimum"), bound("maximum"));
                let ends = [least.map(|n| format!("at least {n}")), most.map(|n| format!("at most {n}"))];
                wrong.push(format!(
                    "{at:?} must be {}",
                    ends.into_iter().flatten().collect::<Vec<_>>().join(" and ")
                ));
            }
        }
        Value::Array(list) if list.len() > MOST_ITEMS => {
            wrong.push(format!("{at:?} has more than {MOST_ITEMS} items"));
        }
        Value::Array(list) => {
            let items = property.get("items").unwrap_or(&Value::Null);
            for (number, item) in list.iter().enumerate() {
                check(items, item, &format!("{at}[{number}]"), depth + 1, wrong);
            }
        }
        Value::Object(inner) => object(property, inner, at, depth + 1, wrong),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        // A word that is not known here is the server's to judge.
        _ => true,
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
            "required": ["day"],
            "additionalProperties": false
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

    #[test]
    fn lists_and_objects_are_looked_into_and_bounded() {
        let schema = json!({ "properties": {
            "items": { "type": "array", "items": { "type": "object", "required": ["sku"], "properties": {
                "sku": { "type": "string", "maxLength": 4 }, "count": { "type": ["integer", "null"], "minimum": 1, "maximum": 9 }
            } } }
        } });
        assert!(validate(&schema, r#"{"items":[{"sku":"A1","count":2},{"sku":"B"}],"more":true}"#).is_ok());
        let error =
            validate(&schema, r#"{"items":[{"count":0},{"sku":"ABCDE"},7]}"#).expect_err("three faults");
        for part in ["items[0].sku", "at least 1 and at most 9", "items[1].sku", "longer than 4", "items[2]"]
        {
            assert!(error.contains(part), "{error}");
        }
        let deep = format!("{{\"x\":{}1{}}}", "[".repeat(20), "]".repeat(20));
        assert!(validate(&schema, &deep).expect_err("too deep").contains("nested"));
        let many = json!({ "x": vec![1; 101] }).to_string();
        assert!(validate(&schema, &many).expect_err("too many").contains("more than 100"));
    }
}
