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

/// The messages of one topic: an enum with one variant per record.
pub trait Message: Debug + Clone + Send + Sync + 'static {
    /// The topic that carries it.
    const TOPIC: &'static Topic;
    /// Conversions of records with earlier names to current messages.
    const UPCASTS: &'static [Upcast<Self>] = &[];

    /// Returns the message for a record without a value, which deletes the key on a state topic. `None` on every other
    /// topic.
    fn tombstone() -> Option<Self> {
        None
    }

    /// Returns `true` if the message has no value and deletes the key on its topic.
    fn is_tombstone(&self) -> bool {
        false
    }

    /// Returns the full name of the record.
    fn type_name(&self) -> &'static str;

    /// Encodes and frames the record for the wire: byte 0, schema id, datum.
    ///
    /// # Errors
    /// Returns an error if the record is not in the topic table, or does not fit its schema.
    fn encode(&self, codec: &Codec) -> Result<Vec<u8>, Error>;

    /// Decodes a value that [`encode`](Self::encode) wrote, in this or another version.
    ///
    /// `type_name` is the `ce_type` header. Returns `None` for a type that this enum does not know, because producers may
    /// roll out new types first.
    ///
    /// # Errors
    /// Returns [`Error::UnknownSchema`] if the schema must be learned first. All other errors are final.
    fn decode(codec: &Codec, type_name: &str, framed: &[u8]) -> Result<Option<Self>, Error>;
}

/// Conversion of a record with an earlier name to a current message, where schema resolution is not sufficient.
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

/// Declares the records of a topic: connects each struct to `schemas/<folder>/<Struct>.avsc`, and defines the [`message!`]
/// enum. With `or tombstone`, for state topics, the enum has a variant that deletes its key.
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

/// Defines the enum of a topic's records.
///
/// A record with a new name stays readable under its old name: `upcasts { OldRecord => convert }`, where `convert`
/// converts the old struct to the message, and `OldRecord` implements [`Record`] by hand.
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
                #[doc = "The key is deleted."]
                #[doc = concat!("Has no value: a ", stringify!($tombstone), ".")]
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
                    $(Self::Tombstone => $crate::message::no_value!($tombstone),)?
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

/// The encoding of a tombstone.
macro_rules! no_value {
    (tombstone) => {
        Ok(Vec::new())
    };
}

pub(crate) use {message, no_value, tombstone, topic};

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Timestamp, UserCreated, UserDeactivated};

    // An earlier UserCreated, whose date `when` became the time `created_at`. Schema resolution cannot convert that.
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
    fn a_record_with_an_earlier_name_becomes_a_current_message() {
        let codec = Codec::local();
        codec.learn(900, UserRegistered::SCHEMA).expect("valid schema");
        let framed = [0, 0, 0, 3, 132, 2]; // schema 900, day 1

        let message = Renamed::decode(&codec, UserRegistered::NAME, &framed).expect("decodes");

        let created_at = Timestamp::parse("1970-01-02T00:00:00Z").expect("valid");
        assert_eq!(message, Some(UserCreated { created_at }.into()));
    }

    #[test]
    fn an_unknown_type_is_skipped() {
        let framed = [0, 0, 0, 0, 99];
        let message = Renamed::decode(&Codec::local(), "rollcall.users.UserRenamed", &framed);
        assert!(matches!(message, Ok(None)), "{message:?}");
    }
}
