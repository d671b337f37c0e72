//! No request needs much more memory than its own size, or gets a much larger response, regardless of its content.

#[expect(dead_code, reason = "shared with tests/gateway/main.rs")]
mod app;

use axum::http::{HeaderMap, Method};
use peak_alloc::PeakAlloc;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use app::{Person, Response, TestApp};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Maximum size of the body of a problem, in bytes.
const MAX_PROBLEM_BYTES: usize = 32 * 1024;
/// Maximum size of the headers of a response, in bytes. They contain nothing that the client sent.
const MAX_HEAD_BYTES: usize = 4 * 1024;
/// Maximum ratio of response to request: a response can contain the request with each byte escaped as `\u0001`, in
/// addition to data from the database.
const RESPONSE_FACTOR: usize = 6;
/// Maximum ratio of memory to request. A request is held as bytes, as text and as the parsed body; an error copies a name a
/// few more times; and a growing text is held twice. Today's most expensive request needs 8 times its size.
const MEMORY_FACTOR: usize = 16;
/// Memory that every request may need, in bytes: for statements and for concurrent tasks.
const BASE_MEMORY: usize = 512 * 1024;
/// Approximate maximum size of a body, in bytes.
const SIZE: usize = 60_000;

/// A hostile request.
struct Hostile {
    name: String,
    /// Memory that the route needs regardless of the request, in bytes.
    memory: usize,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
}

/// One operation of the OpenAPI document.
struct Route {
    method: Method,
    path: String,
    parameters: Vec<String>,
    /// Example of the body, and the names of all its members.
    body: Option<(Value, Vec<String>)>,
}

fn routes() -> Vec<Route> {
    let document = gateway::api::document();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let queries = parameters.filter(|parameter| parameter["in"] == "query");
            let schema = operation.pointer("/requestBody/content/application~1json/schema/$ref");
            let schema = schema.and_then(|name| document.pointer(name.as_str()?.trim_start_matches('#')));
            routes.push(Route {
                method: method.to_uppercase().parse().expect("a method"),
                path: path.clone(),
                parameters: queries.map(|parameter| text(&parameter["name"])).collect(),
                body: schema.map(|schema| {
                    let members = schema["properties"].as_object().expect("properties");
                    (schema["example"].clone(), members.keys().cloned().collect())
                }),
            });
        }
    }
    assert!(routes.len() > 40, "{}", routes.len());
    routes
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn list(item: &str) -> String {
    format!("[{}]", vec![item; SIZE / (item.len() + 1)].join(","))
}

/// Texts that are long, or become longer when they are escaped.
fn long_texts() -> [String; 3] {
    ["x".repeat(SIZE), "\u{1}".repeat(SIZE / 6), "𝄞".repeat(SIZE / 4)]
}

/// Bodies that no route accepts.
fn bodies() -> Vec<(String, String)> {
    let key = "k".repeat(SIZE / 2);
    let nulls = vec!["null"; SIZE / 10].join(",");
    let members = |name: &dyn Fn(usize) -> String, value: &str| {
        let members: Vec<String> = (0..SIZE / 20).map(|n| format!("\"{}\":{value}", name(n))).collect();
        format!("{{{}}}", members.join(","))
    };
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(100), close.repeat(100));
    let (deep_key, most_deep) = ("d".repeat(400), SIZE / 6);
    let mut bodies = vec![
        ("nulls under a long key", format!(r#"{{"{key}":[{nulls}]}}"#)),
        ("nulls", list("null")),
        ("strings with NUL", list(r#""\u0000""#)),
        ("nulls deep under long keys", {
            let open = format!(r#"{{"{deep_key}":"#).repeat(100);
            format!("{open}[{}]{}", vec!["null"; SIZE / 20].join(","), "}".repeat(100))
        }),
        ("unknown members", members(&|n| format!("m{n}"), "0")),
        ("unknown members without a value", members(&|n| format!("m{n}"), "null")),
        ("a repeated member", members(&|_| "m".to_owned(), "{}")),
        ("empty lists", list("[]")),
        ("small objects", list(r#"{"a":1}"#)),
        ("numbers", list("0")),
        ("a long number", "9".repeat(SIZE)),
        ("deep lists", "[".repeat(SIZE)),
        ("deep objects", r#"{"a":"#.repeat(most_deep)),
        ("lists at the maximum depth", nested("[", "]")),
        ("objects at the maximum depth", nested(r#"{"a":"#, "}")),
        ("not JSON", "x".repeat(SIZE)),
        ("an unterminated text", format!("\"{}", "x".repeat(SIZE))),
    ];
    let keys = long_texts().map(|text| ("a long unknown key", json!({ text: 1 }).to_string()));
    bodies.extend(keys);
    bodies.into_iter().map(|(name, body)| (name.to_owned(), body)).collect()
}

/// The example with one invalid member.
fn invalid_examples(example: &Value, members: &[String]) -> Vec<(String, String)> {
    let mut bodies = vec![("the example".to_owned(), example.to_string())];
    let empty = Map::new();
    let example = example.as_object().unwrap_or(&empty);
    for member in members {
        let mut add = |name: &str, value: &str| {
            let others = example.iter().filter(|(name, _)| *name != member);
            let mut all: Vec<String> = others.map(|(name, value)| format!("\"{name}\":{value}")).collect();
            all.push(format!("\"{member}\":{value}"));
            bodies.push((format!("{member} is {name}"), format!("{{{}}}", all.join(","))));
        };
        for text in long_texts() {
            add("a long text", &json!(text).to_string());
        }
        add("a list of nulls", &list("null"));
        add("a list of empty strings", &list("\"\""));
        add("a list of members", &list("\"member\""));
        add("a list of ids", &list("\"0193b0a8-6f62-7cc0-b3ff-4a1a2f1c2d3e\""));
        add("a list of lists", &list("[]"));
        add("a long number", &"9".repeat(SIZE));
        add("duplicate", &format!("\"x\",\"{member}\":\"{}\"", "x".repeat(SIZE)));
    }
    bodies
}

fn headers() -> Vec<(&'static str, String)> {
    let long = "x".repeat(SIZE);
    vec![
        ("idempotency-key", long.clone()),
        ("idempotency-key", "k".repeat(255)),
        ("if-match", format!("\"{}\"", "9".repeat(SIZE))),
        ("prefer", format!("wait=0, {}", "a=b;c, ".repeat(SIZE / 7))),
        ("accept", "text/csv;q=0.1,".repeat(SIZE / 15)),
        ("accept", long.clone()),
        (
            "traceparent",
            format!("00-{}-{}-01", "a".repeat(SIZE / 2), "b".repeat(SIZE / 2)),
        ),
        ("tracestate", "a=b,".repeat(SIZE / 4)),
        ("x-request-id", long.clone()),
        ("x-forwarded-for", "192.0.2.1, ".repeat(SIZE / 11)),
        ("authorization", format!("Bearer {}", "a.".repeat(SIZE / 2))),
        ("content-type", format!("application/json; {long}")),
        ("origin", long.clone()),
        ("cookie", long),
    ]
}

fn queries(parameters: &[String]) -> Vec<(String, String)> {
    let mut queries = vec![
        ("a long unknown parameter".to_owned(), format!("{}=1", "x".repeat(SIZE))),
        (
            "an unknown parameter to be escaped".to_owned(),
            format!("{}=1", "%01".repeat(SIZE / 3)),
        ),
        (
            "NUL in a long parameter".to_owned(),
            format!("{}=%00", "x".repeat(SIZE)),
        ),
        ("many parameters".to_owned(), "a&".repeat(SIZE / 2)),
    ];
    for parameter in parameters {
        for value in ["x".repeat(SIZE), "%01".repeat(SIZE / 3), "9".repeat(SIZE)] {
            queries.push((format!("a long {parameter}"), format!("{parameter}={value}")));
        }
        queries.push((
            format!("repeated {parameter}"),
            format!("{parameter}=1&").repeat(SIZE / 20),
        ));
    }
    queries
}

/// Returns all hostile requests for one route.
fn attacks(route: &Route) -> Vec<Hostile> {
    let path = route
        .path
        .replace("{id}", &Uuid::now_v7().to_string())
        .replace("{token}", "x");
    let example = route.body.as_ref().map(|(example, _)| example.to_string());
    let hostile = |name: String, path: &str, headers, body: Option<String>| Hostile {
        name: format!("{} {}: {name}", route.method, route.path),
        memory: BASE_MEMORY,
        method: route.method.clone(),
        path: path.to_owned(),
        headers,
        body,
    };
    let mut attacks = Vec::new();
    if route.method != Method::GET {
        let mut all = bodies();
        if let Some((example, members)) = &route.body {
            all.extend(invalid_examples(example, members));
        }
        for (name, body) in all {
            attacks.push(hostile(name.clone(), &path, Vec::new(), Some(body.clone())));
            let key = ("idempotency-key", Uuid::now_v7().to_string());
            attacks.push(hostile(format!("{name}, with a key"), &path, vec![key], Some(body)));
        }
    }
    for header in headers() {
        attacks.push(hostile(
            format!("a long {}", header.0),
            &path,
            vec![header],
            example.clone(),
        ));
    }
    for (name, query) in queries(&route.parameters) {
        attacks.push(hostile(name, &format!("{path}?{query}"), Vec::new(), example.clone()));
    }
    for long in ["x".repeat(SIZE), "%01".repeat(SIZE / 3), "%FF".to_owned()] {
        let in_path = route.path.replace("{id}", &long).replace("{token}", &long);
        attacks.push(hostile("a long path".to_owned(), &in_path, Vec::new(), example.clone()));
        attacks.push(hostile(
            "a longer path".to_owned(),
            &format!("{path}/{long}"),
            Vec::new(),
            example.clone(),
        ));
    }
    attacks
}

fn bytes_of(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Returns the response, and the peak memory until it was complete, in bytes.
async fn send(app: &TestApp, by: Option<&Person>, hostile: &Hostile) -> (Response, usize) {
    let mut call = app.gateway.call(hostile.method.clone(), &hostile.path);
    let sets = |name| hostile.headers.iter().any(|(other, _)| *other == name);
    if !sets("prefer") {
        call = call.wait(0);
    }
    if let Some(person) = by.filter(|_| !sets("authorization")) {
        call = call.by(person);
    }
    for (name, value) in &hostile.headers {
        call = call.header(name, value);
    }
    if let Some(body) = &hostile.body {
        call = if sets("content-type") {
            call.body(body.as_str())
        } else {
            call.raw("application/json", body.as_str())
        };
    }
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    let response = call.send().await;
    (response, MEMORY.peak_usage().saturating_sub(before))
}

/// Returns a description if the response is not a problem, is too large, or needed too much memory.
fn excess(hostile: &Hostile, response: &Response, memory: usize) -> Option<String> {
    let sent = hostile.headers.iter().map(|(_, value)| value.len()).sum::<usize>();
    let sent = sent + hostile.path.len() + hostile.body.as_ref().map_or(0, String::len);
    let received = match &response.body {
        Value::String(text) => text.len(),
        body => body.to_string().len(),
    };
    let is_error = response.status.is_client_error() || response.status.is_server_error();
    let is_problem = ["type", "title", "code", "instance"]
        .iter()
        .all(|member| response.body[*member].is_string());
    let largest = if is_error {
        MAX_PROBLEM_BYTES
    } else {
        MAX_PROBLEM_BYTES + RESPONSE_FACTOR * sent
    };
    let head = bytes_of(&response.headers);
    let allowed = hostile.memory + MEMORY_FACTOR * sent;
    if is_error && !is_problem {
        return Some(format!("{} is not a problem", response.status));
    }
    if received > largest || head > MAX_HEAD_BYTES {
        return Some(format!(
            "{head} bytes of headers and {received} bytes of body for a request of {sent} bytes"
        ));
    }
    (memory > allowed).then(|| format!("{memory} bytes of memory for a request of {sent} bytes"))
}

#[tokio::test]
async fn no_request_needs_much_more_than_its_own_size() {
    let app = TestApp::start().await;
    let ada = app.admin("ada").await;
    let (mut sent, mut excesses) = (0, Vec::new());
    for route in routes() {
        for hostile in attacks(&route) {
            for by in [None, Some(&ada)] {
                // Signing out would end the session of all later requests.
                if by.is_some() && route.path == "/v1/sessions/current" {
                    continue;
                }
                let (response, memory) = send(&app, by, &hostile).await;
                sent += 1;
                if let Some(excess) = excess(&hostile, &response, memory) {
                    excesses.push(format!("{}: {excess}", hostile.name));
                }
            }
            assert!(excesses.len() < 20, "after {sent} requests: {excesses:#?}");
        }
    }
    assert!(excesses.is_empty(), "after {sent} requests: {excesses:#?}");
}
