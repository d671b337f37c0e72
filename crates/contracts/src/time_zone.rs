//! The form of the names of time zones, as all services accept it.

/// Maximum length of a name, in bytes.
const MAX_BYTES: usize = 64;

/// Checks that a string has the form of an IANA name, for example `Europe/Berlin`.
///
/// Returns `None` if it does, and otherwise the code and the message of a [`FieldError`](crate::FieldError). Whether the zone
/// exists is not checked, because only the gateway has the tz database.
pub fn check_time_zone(name: &str) -> Option<(&'static str, &'static str)> {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
    };
    if name.is_empty() {
        Some(("required", "Enter a time zone."))
    } else if name.len() > MAX_BYTES || !name.split('/').all(is_part) {
        Some(("malformed", "Enter an IANA time zone name such as Europe/Berlin."))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str) -> Option<&'static str> {
        check_time_zone(name).map(|(code, _)| code)
    }

    #[test]
    fn names_of_the_iana_form_are_accepted() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1"] {
            assert_eq!(code(name), None, "{name}");
        }
    }

    #[test]
    fn empty_and_malformed_names_are_rejected() {
        assert_eq!(code(""), Some("required"));
        for name in [
            "Europe/",
            "/",
            "Europe//Berlin",
            "Köln",
            "Europe/Ber lin",
            &"a".repeat(65),
        ] {
            assert_eq!(code(name), Some("malformed"), "{name}");
        }
    }
}
