//! The environment, read once, before anything is opened.
//!
//! A service describes its settings in one function, each with a sample and a sentence:
//!
//! ```
//! use std::time::Duration;
//! use chassis::settings::{Reader, Settings, Url};
//!
//! struct Config { database: Url, lease: Duration, batch: usize }
//!
//! impl Config {
//!     fn from_settings(read: &mut Reader) -> Config {
//!         Config {
//!             database: read.required("DATABASE_URL", "postgres://users@127.0.0.1/users", "this service's own database"),
//!             lease: read.or("LEASE_MS", "3000", "how long a silent process keeps its rows"),
//!             batch: read.or("BATCH_SIZE", "500", "most messages in one transaction"),
//!         }
//!     }
//! }
//!
//! let config = Settings::from_map([("DATABASE_URL", "postgres://users@db/users")]).read(Config::from_settings)?;
//! assert_eq!(config.lease, Duration::from_secs(3));
//!
//! let problems = Settings::from_map([("BATCH_SIZE", "many")]).read(Config::from_settings).err().expect("two are wrong");
//! assert_eq!(problems.names().collect::<Vec<_>>(), ["DATABASE_URL", "BATCH_SIZE"]);
//! # Ok::<(), chassis::settings::Error>(())
//! ```
//!
//! Reading never stops at the first problem: what can't be read is noted, the sample stands in, and
//! [`Settings::read`] hands out the result only if nothing was noted.

mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use value::{Secret, Url, Value};

/// Words in a variable's name that keep its value out of messages and `Debug`.
const HIDDEN: [&str; 5] = ["URL", "PASSWORD", "SECRET", "KEY", "TOKEN"];

/// The variables of one environment. `Debug` hides the values that may be secret.
#[derive(Clone, Default)]
pub struct Settings {
    /// `None`: set, but not UTF-8.
    variables: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// The environment of this process.
    pub fn from_env() -> Settings {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .collect();
        Settings { variables }
    }

    /// An environment of one's own, for tests.
    pub fn from_map<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Settings {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), Some(value.into())))
            .collect();
        Settings { variables }
    }

    /// Reads a configuration, and fails with every problem at once.
    pub fn read<C>(&self, config: impl FnOnce(&mut Reader) -> C) -> Result<C, Error> {
        let mut reader = Reader {
            settings: self,
            seen: Vec::new(),
            problems: Vec::new(),
        };
        let config = config(&mut reader);
        if reader.problems.is_empty() {
            Ok(config)
        } else {
            Err(Error {
                problems: reader.problems,
            })
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |name: &str, value: &Option<String>| match value {
            Some(value) if !may_be_secret(name) => value.clone(),
            Some(_) => "[hidden]".to_owned(),
            None => "[not UTF-8]".to_owned(),
        };
        f.debug_map()
            .entries(self.variables.iter().map(|(n, v)| (n, shown(n, v))))
            .finish()
    }
}

/// What a configuration reads, without any environment: for READMEs, and for the `settings` command.
pub fn describe<C>(config: impl FnOnce(&mut Reader) -> C) -> Vec<Setting> {
    let mut reader = Reader {
        settings: &Settings::default(),
        seen: Vec::new(),
        problems: Vec::new(),
    };
    config(&mut reader);
    reader.seen
}

/// One setting that a configuration reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What happens without it.
    pub presence: Presence,
    /// The default, or for a setting without one, an example.
    pub sample: String,
    /// What it is for, in a few words.
    pub description: &'static str,
}

/// What happens without a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The process refuses to start.
    Required,
    /// It does without.
    Optional,
    /// It takes the default.
    Default,
}

/// Reads settings, and notes what is wrong with them. Surrounding white space is cut off; an empty
/// variable counts as unset.
pub struct Reader<'a> {
    settings: &'a Settings,
    seen: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// A setting that must be there.
    ///
    /// # Panics
    /// If the example is no valid value: a mistake in the code, found by any test that reads the configuration.
    pub fn required<T: Value>(&mut self, name: &'static str, example: &str, description: &'static str) -> T {
        let stand_in = self.register(name, Presence::Required, example, description);
        match self.value(name) {
            Some(Ok(value)) => value,
            Some(Err(what)) => {
                self.note(name, what, example);
                stand_in
            }
            None => {
                self.note(name, format!("is not set ({description})"), example);
                stand_in
            }
        }
    }

    /// A setting that may be missing.
    ///
    /// # Panics
    /// If the example is no valid value.
    pub fn optional<T: Value>(&mut self, name: &'static str, example: &str, description: &'static str) -> Option<T> {
        let _: T = self.register(name, Presence::Optional, example, description);
        match self.value(name)? {
            Ok(value) => Some(value),
            Err(what) => {
                self.note(name, what, example);
                None
            }
        }
    }

    /// A setting with a default, written as in the environment.
    ///
    /// # Panics
    /// If the default is no valid value.
    pub fn or<T: Value>(&mut self, name: &'static str, default: &str, description: &'static str) -> T {
        let default_value = self.register(name, Presence::Default, default, description);
        match self.value(name) {
            Some(Ok(value)) => value,
            Some(Err(what)) => {
                self.note(name, what, default);
                default_value
            }
            None => default_value,
        }
    }

    /// Notes a problem of one's own, e.g. a rule over two settings. `what` follows the name: "must be …".
    pub fn problem(&mut self, name: &'static str, what: impl fmt::Display) {
        let sample = self.seen.iter().find(|s| s.name == name);
        let sample = sample.map(|s| s.sample.clone()).unwrap_or_default();
        self.note(name, what.to_string(), &sample);
    }

    fn register<T: Value>(
        &mut self,
        name: &'static str,
        presence: Presence,
        sample: &str,
        description: &'static str,
    ) -> T {
        if !self.seen.iter().any(|s| s.name == name) {
            self.seen.push(Setting {
                name,
                presence,
                sample: sample.to_owned(),
                description,
            });
        }
        T::parse(name, sample).unwrap_or_else(|what| panic!("the sample of {name}, {sample:?}, {what}"))
    }

    fn value<T: Value>(&self, name: &str) -> Option<Result<T, String>> {
        let value = match self.settings.variables.get(name)? {
            Some(value) => value.trim(),
            None => return Some(Err("is not UTF-8".to_owned())),
        };
        if value.is_empty() {
            return None;
        }
        Some(T::parse(name, value).map_err(|what| {
            if may_be_secret(name) {
                what
            } else {
                format!("is {value:?}, but {what}")
            }
        }))
    }

    fn note(&mut self, name: &'static str, what: String, sample: &str) {
        self.problems.push(Problem {
            name,
            what,
            example: sample.to_owned(),
        });
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    name: &'static str,
    what: String,
    example: String,
}

impl Error {
    /// The variables that are wrong, in the order in which they were read.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.problems.iter().map(|problem| problem.name)
    }
}

/// One line a problem: the variable, what is wrong, and an example.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, Problem { name, what, example }) in self.problems.iter().enumerate() {
            if line > 0 {
                writeln!(f)?;
            }
            write!(f, "{name} {what}")?;
            if !example.is_empty() {
                write!(f, "; for example {name}={example}")?;
            }
        }
        Ok(())
    }
}

fn may_be_secret(name: &str) -> bool {
    HIDDEN.iter().any(|word| name.contains(word))
}
