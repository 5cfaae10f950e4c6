//! The JSON Schema of `gateway.toml`, for editors. Keys, defaults, ranges and choices are those that the readers ask for, the
//! descriptions those of the commented example.

mod descriptions;

use std::path::Path;

use serde_json::{Map, Value, json};
use toml::Table;

use super::section::Reading;
use super::shape::{Key, Keys, Shape};
use descriptions::Descriptions;

/// Complete, and tested to be.
const EXAMPLE: &str = include_str!("../../../gateway.toml");

/// In draft 2020-12. It allows what may be written, and knows less than [`parse`](super::parse) about what makes sense.
pub fn schema() -> Value {
    let mut schema = table(&every_key(), "", &Descriptions::of(EXAMPLE));
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("gateway.toml"));
    schema.insert("description".to_owned(), json!(format!("hokusai-gateway {}", env!("CARGO_PKG_VERSION"))));
    Value::Object(schema)
}

/// Tables that mean something by being there are read only if they are: each that is met is added, empty, until none is new.
fn every_key() -> Keys {
    let (mut keys, mut document) = (Keys::default(), Table::new());
    loop {
        let reading = Reading::new(Path::new(""), &|_| None);
        let (_, asked) = reading.root(&document, super::read);
        keys.learn(asked);
        if !add_missing_tables(&keys, &mut document) {
            return keys;
        }
    }
}

/// Returns whether there were any.
fn add_missing_tables(keys: &Keys, table: &mut Table) -> bool {
    let mut is_new = false;
    for Key { name, shape, .. } in &keys.0 {
        let (keys, empty) = match shape {
            Shape::Table(keys) => (keys, toml::Value::Table(Table::new())),
            Shape::Tables(keys) => (keys, toml::Value::Array(vec![toml::Value::Table(Table::new())])),
            _ => continue,
        };
        is_new |= !table.contains_key(*name);
        let inner = match table.entry(*name).or_insert(empty) {
            toml::Value::Array(tables) => &mut tables[0],
            table => table,
        };
        is_new |= add_missing_tables(keys, inner.as_table_mut().expect("it was added as one"));
    }
    is_new
}

fn table(keys: &Keys, path: &str, descriptions: &Descriptions) -> Map<String, Value> {
    let property = |key: &Key| {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        let mut schema = shaped(&key.shape, &path, descriptions);
        if let Some(description) = descriptions.get(&path) {
            schema.insert("description".to_owned(), json!(description));
        }
        (key.name.to_owned(), Value::Object(schema))
    };
    let properties: Map<_, _> = keys.0.iter().map(property).collect();
    let required: Vec<_> = keys.0.iter().filter(|key| key.is_required).map(|key| key.name).collect();
    object(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    }))
}

fn shaped(shape: &Shape, path: &str, descriptions: &Descriptions) -> Map<String, Value> {
    match shape {
        Shape::Text { default, choices } => {
            let mut schema = text(choices);
            schema.extend(default.iter().map(|default| ("default".to_owned(), json!(default))));
            schema
        }
        Shape::List { default, choices } => object(json!({ "type": "array", "items": text(choices), "default": default })),
        Shape::Integer { default, range } => {
            object(json!({ "type": "integer", "minimum": range.start(), "maximum": range.end(), "default": default }))
        }
        Shape::Flag { default } => object(json!({ "type": "boolean", "default": default })),
        Shape::Table(keys) => table(keys, path, descriptions),
        Shape::Tables(keys) => object(json!({ "type": "array", "items": table(keys, path, descriptions) })),
        Shape::FreeTable => object(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
    }
}

fn text(choices: &[&str]) -> Map<String, Value> {
    match choices {
        [] => object(json!({ "type": "string" })),
        _ => object(json!({ "type": "string", "enum": choices })),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => unreachable!("{other} was written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_key(path: &str) -> Value {
        let schema = schema();
        schema.pointer(&format!("/properties/{path}")).unwrap_or_else(|| panic!("{path} is not in {schema}")).clone()
    }

    #[test]
    fn a_key_has_the_default_range_choices_and_words_that_hold() {
        let workers = of_key("server/properties/workers");
        assert_eq!((&workers["default"], &workers["minimum"], &workers["maximum"]), (&json!(0), &json!(0), &json!(1024)));
        assert_eq!(workers["description"], "threads that serve requests; 0: one per core");
        let auth = of_key("routes/items/properties/auth");
        assert_eq!((&auth["default"], &auth["enum"]), (&json!("required"), &json!(["required", "optional", "none"])));
        assert_eq!(of_key("keys/properties/accept")["items"]["enum"], json!(["bearer", "apikey", "x-api-key", "query"]));
        assert_eq!(of_key("upstreams/items")["required"], json!(["name", "servers"]));
        assert_eq!(of_key("routes/items/properties/redirect")["required"], json!(["to"]));
    }

    #[test]
    fn the_example_describes_most_keys() {
        fn count(schema: &Value) -> (usize, usize) {
            let properties = schema["properties"].as_object().into_iter().flat_map(Map::values);
            properties.fold((0, 0), |(described, all), key| {
                let (inner, inner_all) = count(if key["items"].is_object() { &key["items"] } else { key });
                (described + inner + usize::from(key["description"].is_string()), all + inner_all + 1)
            })
        }
        let (described, all) = count(&schema());
        assert!(all > 100 && described * 2 > all, "{described} of {all}");
    }
}
