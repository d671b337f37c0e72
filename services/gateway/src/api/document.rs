//! What the OpenAPI document says beside what each route says of itself: the problems that any request can meet, and
//! that nothing is ever null.

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::problem::CONTENT_TYPE;

/// Problems by status; `Retry-After` comes with some.
const PROBLEMS: [(&str, &str, &str, bool); 13] = [
    ("400", "Malformed", "The request can't be read", false),
    (
        "401",
        "NotSignedIn",
        "Nobody is signed in, or the access token is not good (any more)",
        false,
    ),
    ("403", "Forbidden", "This principal may not do this", false),
    (
        "404",
        "NotFound",
        "There is no such thing, or it is not this principal's to see",
        false,
    ),
    (
        "409",
        "Conflict",
        "It can't be done as things are, or the same request is still being answered",
        true,
    ),
    (
        "412",
        "VersionConflict",
        "It was changed since the ETag in If-Match",
        false,
    ),
    ("413", "TooLarge", "The body has more than 64 KiB", false),
    ("415", "MediaType", "The body is no JSON", false),
    (
        "422",
        "Invalid",
        "Some of it is not valid: `errors` names the fields",
        false,
    ),
    ("429", "TooMany", "Too many requests", true),
    ("500", "Internal", "Something went wrong, and it was noted", false),
    ("501", "Unsupported", "A service is older than this request", false),
    (
        "503",
        "Unavailable",
        "Not now: nothing was done, or its outcome is not known yet",
        true,
    ),
];

/// Of `If-Match`: one `ETag`, or any.
const ETAG: &str = r#"^("[0-9]{1,18}"|[0-9]{1,18}|[*])$"#;

/// Completes the document.
pub(super) fn complete(document: OpenApi) -> Value {
    let mut document = with_names(&serde_json::to_value(document).expect("the document is JSON"));
    never_null(&mut document);
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
                    .expect("every route says what it answers");
                for (status, name, ..) in PROBLEMS.iter().filter(|(status, ..)| statuses.contains(status)) {
                    let reference = json!({ "$ref": format!("#/components/responses/{name}") });
                    responses.entry(*status).or_insert(reference);
                }
                if let Some(accepted) = responses.get_mut("202") {
                    accepted["headers"]["Location"] =
                        header("Where the outcome will be: /v1/operations/{id}", "string");
                    accepted["headers"]["Retry-After"] = header("Seconds until it is worth looking", "integer");
                }
            }
        }
    }
    document
}

/// A page of events is an `EventPage`, where the derive says `Page_Event`.
fn with_names(document: &Value) -> Value {
    let schemas = document["components"]["schemas"]
        .as_object()
        .into_iter()
        .flat_map(Map::keys);
    let pages: Vec<&str> = schemas.filter_map(|name| name.strip_prefix("Page_")).collect();
    let text = pages.iter().fold(document.to_string(), |text, name| {
        text.replace(&format!("Page_{name}\""), &format!("{name}Page\""))
    });
    serde_json::from_str(&text).expect("names are as good as others")
}

/// What a request to this route can meet.
fn statuses(path: &str, method: &str, operation: &Value) -> Vec<&'static str> {
    let of = |name: &str| operation[name].as_array().map_or(&[][..], Vec::as_slice);
    let has = |place: &str, name: Option<&str>| {
        let mut parameters = of("parameters").iter();
        parameters.any(|parameter| parameter["in"] == place && name.is_none_or(|name| parameter["name"] == name))
    };
    let anonymous = of("security").is_empty() || of("security").iter().any(|way| way == &json!({}));
    let writes = method != "get";
    // A token that is sent must be good, also where none is needed.
    let mut statuses = vec!["401", "429", "500", "503"];
    if writes {
        statuses.extend(["400", "409", "413", "415", "422", "501"]);
    }
    if !anonymous && !path.starts_with("/v1/me") {
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
    // Questions to other services, which may say no.
    if of("tags").iter().any(|tag| tag == "audit" || tag == "ops") {
        statuses.extend(["409", "422"]);
    }
    statuses
}

fn problem((_, name, description, retry): &(&str, &str, &str, bool)) -> (String, Value) {
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    let mut response = json!({ "description": description, "content": { CONTENT_TYPE: { "schema": schema } } });
    if *retry {
        response["headers"]["Retry-After"] = header("Seconds until it is worth trying again", "integer");
    }
    ((*name).to_owned(), response)
}

fn header(description: &str, kind: &str) -> Value {
    json!({ "description": description, "schema": { "type": kind } })
}

/// What is optional is left out, in requests and answers alike.
fn never_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(never_null),
        Value::Object(members) => {
            if let Some(Value::Array(types)) = members.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [kind] = types.as_slice() {
                    let kind = kind.clone();
                    members.insert("type".to_owned(), kind);
                }
            }
            if let Some(Value::Array(ways)) = members.get_mut("oneOf") {
                ways.retain(|way| way != &json!({ "type": "null" }));
                if let [Value::Object(way)] = ways.as_slice() {
                    let way = way.clone();
                    members.remove("oneOf");
                    members.extend(way);
                }
            }
            members.values_mut().for_each(never_null);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_left_out_is_not_null() {
        let mut schema = json!({
            "a": { "type": ["string", "null"] },
            "b": { "oneOf": [{ "type": "null" }, { "$ref": "#/x" }], "description": "x" },
            "c": { "oneOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] },
        });
        never_null(&mut schema);
        let expected = json!({
            "a": { "type": "string" },
            "b": { "$ref": "#/x", "description": "x" },
            "c": { "oneOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] },
        });
        assert_eq!(schema, expected);
    }
}
