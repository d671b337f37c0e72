//! Completes the OpenAPI document with what the routes do not declare themselves: the problems that any request can lead
//! to, and that no value is null.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::problem::CONTENT_TYPE;

/// Problem responses: status, name, description, and whether they have a `Retry-After` header.
const PROBLEMS: [(&str, &str, &str, bool); 13] = [
    ("400", "Malformed", "The request is malformed", false),
    (
        "401",
        "NotSignedIn",
        "The access token is missing, expired or invalid",
        false,
    ),
    (
        "403",
        "Forbidden",
        "The principal lacks a role or is not allowed to change the resource",
        false,
    ),
    (
        "404",
        "NotFound",
        "The resource does not exist, or the principal is not allowed to see it",
        false,
    ),
    (
        "409",
        "Conflict",
        "The state of the resource does not allow the request, or the same request is still in progress",
        true,
    ),
    (
        "412",
        "VersionConflict",
        "The resource has changed since the version in If-Match",
        false,
    ),
    ("413", "TooLarge", "The body exceeds 64 KiB", false),
    ("415", "MediaType", "The body is not declared as JSON", false),
    (
        "422",
        "Invalid",
        "Some values are invalid: `errors` names the fields",
        false,
    ),
    ("429", "TooMany", "A rate limit is exceeded", true),
    ("500", "Internal", "An internal error, which was logged", false),
    (
        "501",
        "Unsupported",
        "A service does not support this command yet",
        false,
    ),
    (
        "503",
        "Unavailable",
        "The service is temporarily unavailable, or the outcome is not known yet",
        true,
    ),
];

/// Pattern of `If-Match`: one `ETag`, or `*`.
const ETAG: &str = r#"^("[0-9]{1,18}"|[0-9]{1,18}|[*])$"#;

/// Returns the completed document as JSON.
pub(super) fn complete(document: OpenApi) -> Value {
    let mut document = with_page_names(&serde_json::to_value(document).expect("the document serializes to JSON"));
    remove_null(&mut document);
    document["components"]["responses"] = PROBLEMS.iter().map(problem).collect::<Map<_, _>>().into();
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, methods) in paths {
            for (method, operation) in methods.as_object_mut().into_iter().flatten() {
                let statuses = statuses(path, method, operation);
                for parameter in operation
                    .get_mut("parameters")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    if parameter["name"] == "If-Match" {
                        parameter["schema"] = json!({ "type": "string", "pattern": ETAG });
                    }
                }
                let responses = operation["responses"]
                    .as_object_mut()
                    .expect("every route declares its responses");
                for (status, name, ..) in PROBLEMS.iter().filter(|(status, ..)| statuses.contains(status)) {
                    let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                    responses.entry(*status).or_insert(reference);
                }
                if let Some(accepted) = responses.get_mut("202") {
                    accepted["headers"]["Location"] = header(
                        "Path of the operation, which shows the outcome: /v1/operations/{id}",
                        "string",
                    );
                    accepted["headers"]["Retry-After"] =
                        header("Seconds until the next request for the operation", "integer");
                }
            }
        }
    }
    document
}

/// Renames the page schemas: a page of events is an `EventPage`, but the derive names it `Page_Event`.
fn with_page_names(document: &Value) -> Value {
    let schemas = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flat_map(Map::keys);
    let pages: Vec<&str> = schemas.filter_map(|name| name.strip_prefix("Page_")).collect();
    let text = pages.iter().fold(document.to_string(), |text, name| {
        text.replace(&format!("Page_{name}\""), &format!("{name}Page\""))
    });
    serde_json::from_str(&text).expect("the renamed document is still JSON")
}

/// Returns the statuses of the problems that a request to this route can lead to.
fn statuses(path: &str, method: &str, operation: &Value) -> Vec<&'static str> {
    let of = |name: &str| operation[name].as_array().map_or(&[][..], Vec::as_slice);
    let has = |location: &str, name: Option<&str>| {
        let mut parameters = of("parameters").iter();
        parameters.any(|parameter| parameter["in"] == location && name.is_none_or(|name| parameter["name"] == name))
    };
    let is_anonymous = of("security").is_empty() || of("security").iter().any(|requirement| requirement == &json!({}));
    let is_write = method != "get";
    // An invalid token is an error even if the route requires none.
    let mut statuses = vec!["401", "429", "500", "503"];
    if is_write {
        statuses.extend(["400", "409", "413", "415", "422", "501"]);
    }
    if !is_anonymous && !path.starts_with("/v1/me") {
        statuses.push("403");
    }
    if has("path", None) {
        statuses.push("404");
    }
    if has("header", Some("If-Match")) {
        statuses.push("412");
    }
    if has("query", None) {
        statuses.push("422");
    }
    // Queries to other services, which can reject them.
    if of("tags").iter().any(|tag| tag == "audit" || tag == "ops") {
        statuses.extend(["409", "422"]);
    }
    statuses
}

fn problem((_, name, description, retry): &(&str, &str, &str, bool)) -> (String, Value) {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut response = json!({ "description": description, "content": { CONTENT_TYPE: { "schema": schema } } });
    if *retry {
        response["headers"]["Retry-After"] = header("Seconds until the client should retry", "integer");
    }
    ((*name).to_owned(), response)
}

fn header(description: &str, kind: &str) -> Value {
    json!({ "description": description, "schema": { "type": kind } })
}

/// Removes `null` from all types, because optional members are omitted in requests and responses.
fn remove_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(remove_null),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [kind] = types.as_slice() {
                    let kind = kind.clone();
                    members.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(alternatives)) = members.get_mut("oneOf") {
                alternatives.retain(|alternative| alternative != &json!({ "type": "null" }));
                if let [Value::Object(alternative)] = alternatives.as_slice() {
                    let alternative = alternative.clone();
                    members.remove("oneOf");
                    members.extend(alternative);
                }
            }
            members.values_mut().for_each(remove_null);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_members_are_not_nullable() {
        let mut schema = json!({
            "a": { "type": ["string", "null"] },
            "b": { "oneOf": [{ "type": "null" }, { "$ref": "#/x" }], "description": "x" },
            "c": { "oneOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] },
        });
        remove_null(&mut schema);
        let expected = json!({
            "a": { "type": "string" },
            "b": { "$ref": "#/x", "description": "x" },
            "c": { "oneOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] },
        });
        assert_eq!(schema, expected);
    }
}
