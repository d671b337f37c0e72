use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Codec, codec::Error, topics::Topic};

/// One record type of a topic: a plain struct, equal field by field to its `.avsc` file.
pub trait Record: Serialize + DeserializeOwned + Debug + Clone + PartialEq + Send + Sync + 'static {
    /// The topic that carries it.
    const TOPIC: &'static Topic;
    /// Full name, e.g. `rollcall.users.UserCreated`; `ce_type` on the wire.
    const NAME: &'static str;
    /// The text of its `.avsc` file.
    const SCHEMA: &'static str;
}

/// Whatever a topic carries: an enum with one variant a record.
pub trait Message: Debug + Clone + Send + Sync + 'static {
    /// The topic that carries it.
    const TOPIC: &'static Topic;
    /// How records of earlier names become messages of today.
    const UPCASTS: &'static [Upcast<Self>] = &[];

    /// What a record without a value means on a state topic: the key is gone. `None` on every other topic.
    fn tombstone() -> Option<Self> {
        None
    }

    /// Whether this goes without a value, so that it deletes what the topic holds of the key.
    fn is_tombstone(&self) -> bool {
        false
    }

    /// Full name of the record inside.
    fn type_name(&self) -> &'static str;

    /// Frames the record for the wire: byte 0, schema id, datum.
    fn encode(&self, codec: &Codec) -> Result<Vec<u8>, Error>;

    /// Reads what [`encode`](Self::encode) wrote, in this or another version.
    ///
    /// `type_name` is the `ce_type` header. `None`: a type that this enum doesn't know, which is how new types
    /// roll out.
    fn decode(codec: &Codec, type_name: &str, framed: &[u8]) -> Result<Option<Self>, Error>;
}

/// Maps a record of an earlier name to a message of today, where schema resolution can't.
pub struct Upcast<M> {
    /// Full name of the earlier record.
    pub from: &'static str,
    /// Decodes the earlier record and converts it.
    pub to: fn(&Codec, &[u8]) -> Result<M, Error>,
}

/// Finds the upcast for `type_name` and applies it.
pub(crate) fn upcast<M: Message>(codec: &Codec, type_name: &str, framed: &[u8]) -> Result<Option<M>, Error> {
    match M::UPCASTS.iter().find(|upcast| upcast.from == type_name) {
        Some(upcast) => (upcast.to)(codec, framed).map(Some),
        None => Ok(None),
    }
}

/// Declares what a topic carries: ties each struct to `schemas/<folder>/<Struct>.avsc`, and makes the [`message!`] enum.
/// With `or tombstone`, as state topics have it, the enum also says that its key is gone.
macro_rules! topic {
    (
        $(#[$attribute:meta])*
        $visibility:vis $message:ident on $topic:ident in $folder:literal as $namespace:literal { $($record:ident),+ $(,)? }
        $($more:tt)*
    ) => {
        $(impl $crate::Record for $record {
            const TOPIC: &'static $crate::Topic = &$crate::topics::$topic;
            const NAME: &'static str = concat!($namespace, ".", stringify!($record));
            const SCHEMA: &'static str = include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/../../schemas/", $folder, "/", stringify!($record), ".avsc"
            ));
        })+

        $crate::message::message! {
            $(#[$attribute])* $visibility $message on $topic in $namespace { $($record),+ } $($more)*
        }

        impl $message {
            /// The records, in the order of the variants.
            pub const RECORDS: &'static [$crate::RecordType] = &[$($crate::RecordType::of::<$record>()),+];
        }
    };
}

/// Makes the enum of a topic's records.
///
/// A record that got a new name stays readable by its old one: `upcasts { OldRecord => convert }`, where `convert`
/// takes the old struct to the message, and `OldRecord` has its [`Record`] written by hand.
macro_rules! message {
    (
        $(#[$attribute:meta])*
        $visibility:vis $message:ident on $topic:ident in $namespace:literal { $($record:ident),+ }
        $(or $tombstone:ident)?
        $(upcasts { $($old:ty => $convert:expr),+ $(,)? })?
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        $visibility enum $message {
            $($record($record),)+
            $(
                #[doc = "Nothing is known of the key any more."]
                #[doc = concat!("Goes without a value: a ", stringify!($tombstone), ".")]
                Tombstone,
            )?
        }

        $(impl From<$record> for $message {
            fn from(record: $record) -> Self {
                Self::$record(record)
            }
        })+

        impl $crate::Message for $message {
            const TOPIC: &'static $crate::Topic = &$crate::topics::$topic;
            const UPCASTS: &'static [$crate::Upcast<Self>] = &[$($($crate::Upcast {
                from: <$old as $crate::Record>::NAME,
                to: |codec, framed| codec.decode::<$old>(framed).map($convert),
            }),+)?];

            $($crate::message::tombstone! { $tombstone })?

            fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$record(_) => <$record as $crate::Record>::NAME,)+
                    $(Self::Tombstone => concat!($namespace, ".", stringify!($tombstone)),)?
                }
            }

            fn encode(&self, codec: &$crate::Codec) -> Result<Vec<u8>, $crate::codec::Error> {
                match self {
                    $(Self::$record(record) => codec.encode(record),)+
                    $(Self::Tombstone => $crate::message::nothing!($tombstone),)?
                }
            }

            fn decode(
                codec: &$crate::Codec,
                type_name: &str,
                framed: &[u8],
            ) -> Result<Option<Self>, $crate::codec::Error> {
                match type_name {
                    $(<$record as $crate::Record>::NAME => codec.decode(framed).map(|record| Some(Self::$record(record))),)+
                    _ => $crate::message::upcast(codec, type_name, framed),
                }
            }
        }
    };
}

macro_rules! tombstone {
    (tombstone) => {
        fn tombstone() -> Option<Self> {
            Some(Self::Tombstone)
        }

        fn is_tombstone(&self) -> bool {
            matches!(self, Self::Tombstone)
        }
    };
}

/// What a tombstone is encoded to.
macro_rules! nothing {
    (tombstone) => {
        Ok(Vec::new())
    };
}

pub(crate) use {message, nothing, tombstone, topic};

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Timestamp, UserCreated, UserDeactivated};

    // What a second try at UserCreated would look like: `when`, a date, became `created_at`, which no resolution does.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct UserRegistered {
        when: crate::Date,
    }

    impl Record for UserRegistered {
        const TOPIC: &'static Topic = &crate::topics::USERS;
        const NAME: &'static str = "rollcall.users.UserRegistered";
        const SCHEMA: &'static str = r#"{
            "type": "record", "namespace": "rollcall.users", "name": "UserRegistered", "doc": "Old.",
            "fields": [{ "name": "when", "type": { "type": "int", "logicalType": "date" } }]
        }"#;
    }

    message! {
        Renamed on USERS in "rollcall.users" { UserCreated, UserDeactivated }
        upcasts {
            UserRegistered => |old| UserCreated {
                created_at: Timestamp::EPOCH + std::time::Duration::from_secs(86_400 * old.when.as_days() as u64),
            }.into(),
        }
    }

    #[test]
    fn a_record_of_an_earlier_name_becomes_a_message_of_today() {
        let codec = Codec::local();
        codec.learn(900, UserRegistered::SCHEMA).expect("valid schema");
        let framed = [0, 0, 0, 3, 132, 2]; // schema 900, day 1

        let message = Renamed::decode(&codec, UserRegistered::NAME, &framed).expect("decodes");

        let created_at = Timestamp::parse("1970-01-02T00:00:00Z").expect("valid");
        assert_eq!(message, Some(UserCreated { created_at }.into()));
    }

    #[test]
    fn a_type_that_nobody_knows_is_skipped() {
        let framed = [0, 0, 0, 0, 99];
        let message = Renamed::decode(&Codec::local(), "rollcall.users.UserRenamed", &framed);
        assert!(matches!(message, Ok(None)), "{message:?}");
    }
}
