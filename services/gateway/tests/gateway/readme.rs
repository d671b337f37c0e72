//! The README lists every route.

#[test]
fn the_readme_lists_every_route() {
    let readme = include_str!("../../README.md");
    let document = serde_json::to_value(gateway::api::document()).expect("JSON");
    for path in document["paths"].as_object().expect("paths").keys() {
        // `POST /v1/events/{id}/publish`, `/cancel`
        let last = path.rsplit_once('/').map_or(path.as_str(), |(_, last)| last);
        let is_listed = readme.contains(&format!("{path}`")) || readme.contains(&format!("`/{last}`"));
        assert!(is_listed, "README.md does not list {path}");
    }
}
