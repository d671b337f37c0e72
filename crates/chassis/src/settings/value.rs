//! Types of settings.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A type that a setting can be read as.
pub trait Value: Sized {
    /// Parses the trimmed `text` of a variable, whose `name` may contain the unit.
    ///
    /// # Errors
    /// Returns what is expected, e.g. "must be a whole number". It must not contain the text, which may be secret.
    fn parse(name: &str, text: &str) -> Result<Self, String>;
}

macro_rules! parsed {
    ($($type:ty: $expected:expr),+ $(,)?) => {$(
        impl Value for $type {
            fn parse(_: &str, text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("must be {}", $expected))
            }
        }
    )+};
}

macro_rules! integers {
    ($($type:ty),+ $(,)?) => {
        parsed!($($type: format_args!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX)),+);
    };
}

integers!(
    u16,
    u32,
    u64,
    usize,
    i32,
    i64,
    NonZeroU16,
    NonZeroU32,
    NonZeroU64,
    NonZeroUsize
);
parsed!(
    bool: "true or false",
    SocketAddr: "an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464",
    PathBuf: "a path",
    String: "a string",
);

impl Value for f64 {
    fn parse(_: &str, text: &str) -> Result<f64, String> {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| "must be a number".to_owned())
    }
}

/// A whole number. The suffix of the name is its unit: `_MS`, `_SECONDS`, `_MINUTES`, `_HOURS`, `_DAYS`.
impl Value for Duration {
    fn parse(name: &str, text: &str) -> Result<Duration, String> {
        let (unit, milliseconds) = match name.rsplit_once('_').map(|(_, unit)| unit) {
            Some("MS") => ("milliseconds", 1),
            Some("SECONDS") => ("seconds", 1_000),
            Some("MINUTES") => ("minutes", 60_000),
            Some("HOURS") => ("hours", 3_600_000),
            Some("DAYS") => ("days", 86_400_000),
            _ => return Err("must have a name that ends with a unit, such as _MS".to_owned()),
        };
        let length = u64::from_str(text).ok();
        let length = length.and_then(|length| length.checked_mul(milliseconds));
        match length {
            Some(length) => Ok(Duration::from_millis(length)),
            None => Err(format!("must be a whole number of {unit}")),
        }
    }
}

/// A list of items, separated by commas. Empty items are ignored.
impl<T: Value> Value for Vec<T> {
    fn parse(name: &str, text: &str) -> Result<Vec<T>, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items
            .map(|item| T::parse(name, item).map_err(|problem| format!("every item {problem}")))
            .collect()
    }
}

/// A URL, stored unchanged. `Debug` hides user, password and query.
///
/// Only the form `scheme://host…` is checked, because drivers accept extensions such as `mongodb://a,b/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

impl Url {
    /// Returns the URL with its secrets, for the driver. It must not be logged.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the scheme: the part before `://`.
    pub fn scheme(&self) -> &str {
        self.0.split("://").next().unwrap_or_default()
    }
}

impl Value for Url {
    fn parse(_: &str, text: &str) -> Result<Url, String> {
        let valid = text.split_once("://").is_some_and(|(scheme, rest)| {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !host.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        });
        if valid {
            Ok(Url(text.to_owned()))
        } else {
            Err("must be a URL, scheme://host…".to_owned())
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or_default();
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        // Otherwise part of a password with an unescaped slash would be taken for the host.
        if behind.contains('@') {
            return write!(f, "{scheme}://[hidden]");
        }
        let host = authority.rsplit('@').next().unwrap_or_default();
        let path = behind.split(['?', '#']).next().unwrap_or_default();
        write!(f, "{scheme}://{host}{path}")
    }
}

/// A string that `Debug` hides.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret. It must not be logged.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Value for Secret {
    fn parse(_: &str, text: &str) -> Result<Secret, String> {
        Ok(Secret(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
