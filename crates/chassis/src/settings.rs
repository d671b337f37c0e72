//! Settings from the environment, which is read once, before anything is opened.
//!
//! A service describes its settings in one function, each with a sample and a description:
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
//!             lease: read.or("LEASE_MS", "3000", "time for which an unresponsive process keeps its rows"),
//!             batch: read.or("BATCH_SIZE", "500", "maximum number of messages in one transaction"),
//!         }
//!     }
//! }
//!
//! let config = Settings::from_map([("DATABASE_URL", "postgres://users@db/users")]).read(Config::from_settings)?;
//! assert_eq!(config.lease, Duration::from_secs(3));
//!
//! let problems = Settings::from_map([("BATCH_SIZE", "many")]).read(Config::from_settings).err().expect("two problems");
//! assert_eq!(problems.names().collect::<Vec<_>>(), ["DATABASE_URL", "BATCH_SIZE"]);
//! # Ok::<(), chassis::settings::Error>(())
//! ```
//!
//! Reading does not stop at the first problem. The reader records each problem and uses the sample instead, and
//! [`Settings::read`] returns the result only if no problem was recorded.

mod value;

use std::collections::BTreeMap;
use std::fmt;

pub use value::{Secret, Url, Value};

/// Words in the name of a variable whose value messages and `Debug` must not show.
const HIDDEN: [&str; 5] = ["URL", "PASSWORD", "SECRET", "KEY", "TOKEN"];

/// Variables of an environment. `Debug` hides the values that may be secret.
#[derive(Clone, Default)]
pub struct Settings {
    /// Values by name; `None` if a value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
}

impl Settings {
    /// Returns the environment of this process.
    pub fn from_env() -> Settings {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .collect();
        Settings { variables }
    }

    /// Returns an environment with these variables, for tests.
    pub fn from_map<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Settings {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), Some(value.into())))
            .collect();
        Settings { variables }
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Returns all problems of all settings.
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

/// Lists the settings that a configuration reads, for READMEs and the `settings` command. Uses no environment.
pub fn describe<C>(config: impl FnOnce(&mut Reader) -> C) -> Vec<Setting> {
    let mut reader = Reader {
        settings: &Settings::default(),
        seen: Vec::new(),
        problems: Vec::new(),
    };
    config(&mut reader);
    reader.seen
}

/// A setting that a configuration reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Name of the variable.
    pub name: &'static str,
    /// Behaviour if the variable is not set.
    pub presence: Presence,
    /// The default, or an example if the setting has no default.
    pub sample: String,
    /// Purpose of the setting, as a short phrase.
    pub description: &'static str,
}

/// Behaviour if a setting is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The process does not start.
    Required,
    /// The setting has no value.
    Optional,
    /// The setting has its default.
    Default,
}

/// Reads settings and records problems. Trims white space, and treats an empty variable as not set.
pub struct Reader<'a> {
    settings: &'a Settings,
    seen: Vec<Setting>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads a setting that must be set.
    ///
    /// # Panics
    /// Panics if the example is not a valid value. This is a mistake in the code, which any test that reads the
    /// configuration finds.
    pub fn required<T: Value>(&mut self, name: &'static str, example: &str, description: &'static str) -> T {
        let placeholder = self.register(name, Presence::Required, example, description);
        match self.value(name) {
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.add_problem(name, problem, example);
                placeholder
            }
            None => {
                self.add_problem(name, format!("is not set ({description})"), example);
                placeholder
            }
        }
    }

    /// Reads a setting that may be missing. Returns `None` if it is.
    ///
    /// # Panics
    /// Panics if the example is not a valid value.
    pub fn optional<T: Value>(&mut self, name: &'static str, example: &str, description: &'static str) -> Option<T> {
        let _: T = self.register(name, Presence::Optional, example, description);
        match self.value(name)? {
            Ok(value) => Some(value),
            Err(problem) => {
                self.add_problem(name, problem, example);
                None
            }
        }
    }

    /// Reads a setting with a default, which is written as in the environment.
    ///
    /// # Panics
    /// Panics if the default is not a valid value.
    pub fn or<T: Value>(&mut self, name: &'static str, default: &str, description: &'static str) -> T {
        let default_value = self.register(name, Presence::Default, default, description);
        match self.value(name) {
            Some(Ok(value)) => value,
            Some(Err(problem)) => {
                self.add_problem(name, problem, default);
                default_value
            }
            None => default_value,
        }
    }

    /// Records a problem that the caller has found, e.g. with the combination of two settings.
    ///
    /// `problem` continues a sentence that begins with the name: "must be …".
    pub fn problem(&mut self, name: &'static str, problem: impl fmt::Display) {
        let sample = self.seen.iter().find(|s| s.name == name);
        let sample = sample.map(|s| s.sample.clone()).unwrap_or_default();
        self.add_problem(name, problem.to_string(), &sample);
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
        T::parse(name, sample).unwrap_or_else(|problem| panic!("the sample of {name}, {sample:?}, {problem}"))
    }

    fn value<T: Value>(&self, name: &str) -> Option<Result<T, String>> {
        let value = match self.settings.variables.get(name)? {
            Some(value) => value.trim(),
            None => return Some(Err("is not UTF-8".to_owned())),
        };
        if value.is_empty() {
            return None;
        }
        Some(T::parse(name, value).map_err(|problem| {
            if may_be_secret(name) {
                problem
            } else {
                format!("is {value:?}, but {problem}")
            }
        }))
    }

    fn add_problem(&mut self, name: &'static str, description: String, sample: &str) {
        self.problems.push(Problem {
            name,
            description,
            example: sample.to_owned(),
        });
    }
}

/// All problems of the settings.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    problems: Vec<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Problem {
    name: &'static str,
    description: String,
    example: String,
}

impl Error {
    /// Returns the names of the invalid or missing variables, in the order in which they were read.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.problems.iter().map(|problem| problem.name)
    }
}

/// One line per problem: the variable, the problem, and an example.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (line, problem) in self.problems.iter().enumerate() {
            let Problem {
                name,
                description,
                example,
            } = problem;
            if line > 0 {
                writeln!(f)?;
            }
            write!(f, "{name} {description}")?;
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
