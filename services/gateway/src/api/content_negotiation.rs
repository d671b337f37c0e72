//! Proactive content negotiation with `Accept` (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// Returns the offered media type with the highest quality in `Accept`.
///
/// Returns the first one if several have the same quality, if the header is absent, or if it accepts none of them.
pub(super) fn preferred<'a>(headers: &HeaderMap, offered: &[&'a str]) -> &'a str {
    let ranges: Vec<(&str, u16)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(range)
        .collect();
    let mut best = (offered[0], 0);
    for media_type in offered {
        let quality = quality(&ranges, media_type);
        if quality > best.1 {
            best = (media_type, quality);
        }
    }
    best.0
}

/// Parses a media range and its quality, in thousandths.
fn range(text: &str) -> (&str, u16) {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
    (range, (quality.unwrap_or(1.0).clamp(0.0, 1.0) * 1000.0) as u16)
}

/// Returns the quality of a media type: that of the most specific matching range, or 0 if no range matches.
fn quality(ranges: &[(&str, u16)], media_type: &str) -> u16 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let specific = |range: &str| match range.split_once('/') {
        _ if range.eq_ignore_ascii_case(media_type) => Some(3),
        Some((range_kind, "*")) if range_kind.eq_ignore_ascii_case(kind) => Some(2),
        Some(("*", "*")) => Some(1),
        _ => None,
    };
    let matching = ranges
        .iter()
        .filter_map(|(range, quality)| Some((specific(range)?, *quality)));
    matching.max().map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_media_type_with_the_highest_quality_is_preferred_or_else_the_first() {
        let preferred = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            preferred(&headers, &["application/json", "text/csv"])
        };
        for accept in [
            "",
            "*/*",
            "application/json",
            "image/png",
            "text/csv;q=0",
            "text/csv;q=0.5, application/*",
            "application/json, text/csv",
        ] {
            assert_eq!(preferred(accept), "application/json", "{accept}");
        }
        for accept in [
            "text/csv",
            "Text/CSV",
            "text/*",
            "text/csv, */*;q=0.1",
            "application/json;q=0.2, text/csv;q=0.3",
            "*/*, application/json;q=0",
        ] {
            assert_eq!(preferred(accept), "text/csv", "{accept}");
        }
        assert_eq!(super::preferred(&HeaderMap::new(), &["a/b", "c/d"]), "a/b");
    }
}
