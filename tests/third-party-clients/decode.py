"""Decodes every record of Rollcall's topics without Rollcall's code: with a Kafka client, an Avro library, and the
schemas in the registry.

decode.py [--prefix P]   reads KAFKA_BROKERS and SCHEMA_REGISTRY_URL; exits with 1 if a record breaks a rule

From this repository it uses only the folder names of schemas/, as topic names. Decode.java checks the same
rules. The two share no code, so neither can hide a bug of the other.
"""

import argparse
import io
import json
import os
import re
import sys
import urllib.error
import urllib.request
import uuid
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec

TOPICS = sorted(folder.name for folder in (Path(__file__).parents[2] / "schemas").iterdir() if folder.is_dir())
# Topics whose records have a sequence without gaps for each key.
DOMAIN_EVENTS = {"users", "events", "registrations"}
ERRORS_SHOWN = 20
TIMEOUT = 30  # seconds, for a response of the broker or the registry


class Problem(Exception):
    """A violation of a rule by a record."""


def murmur2(data):
    """Returns the hash by which Kafka's Java client chooses the partition of a key."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key, partitions):
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Registry:
    """Schemas by id. The schema of an id never changes, so each is fetched once."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self.schemas = {}

    def schema(self, schema_id):
        if schema_id not in self.schemas:
            self.schemas[schema_id] = self.fetch(schema_id)
        schema = self.schemas[schema_id]
        if isinstance(schema, Problem):
            raise schema
        return schema

    def fetch(self, schema_id):
        try:
            with self.opener.open(f"{self.url}/schemas/ids/{schema_id}", timeout=TIMEOUT) as response:
                return fastavro.parse_schema(json.loads(json.load(response)["schema"]))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return Problem(f"the registry has no schema {schema_id}")
        except fastavro.schema.SchemaParseException as error:
            return Problem(f"schema {schema_id} cannot be parsed: {error}")


def uuid_text(data, name):
    """Returns a UUID in canonical form (36 characters, lower case). Raises Problem if the data is not one."""
    try:
        text = data.decode()
        if str(uuid.UUID(text)) == text:
            return text
    except (AttributeError, ValueError):
        pass
    raise Problem(f"{name} is not a UUID in canonical form")


class Topic:
    """The records of a topic."""

    def __init__(self, name, known_as, partitions, compacted):
        self.name = name
        self.partitions = partitions
        self.compacted = compacted
        self.numbered = known_as in DOMAIN_EVENTS
        self.types = Counter()
        self.tombstones = 0
        self.duplicates = 0
        self.sent = set()  # (id, attempt)
        self.sequences = defaultdict(dict)  # ids by sequence, for each key
        self.errors = []

    def records(self):
        return self.types.total() + self.tombstones

    def take(self, message, registry):
        """Checks a record, and stores an error for each rule that it breaks."""
        position = f"{self.name}[{message.partition()}]@{message.offset()}"
        headers = dict(message.headers() or [])
        type_name = schema_id = None

        def checked(check, *arguments):
            try:
                return check(*arguments)
            except Problem as problem:
                self.errors.append(f"{position}: {problem}")
                return None

        if message.value() is None:
            self.tombstones += 1
            checked(self.check_tombstone)
        else:
            schema_id, type_name = checked(decode, message.value(), registry) or (None, None)
            self.types[type_name or "?"] += 1
        for name, count in Counter(name for name, _ in message.headers() or []).items():
            if count > 1:
                self.errors.append(f"{position}: header {name} occurs {count} times")
        key = checked(uuid_text, message.key(), "the key")
        if message.key() is not None:
            checked(self.check_partition, message)
        checked(envelope, headers, key, type_name, schema_id)
        id_ = checked(uuid_text, headers.get("ce_id"), "ce_id")
        sequence = checked(self.sequence, headers)
        if id_ is not None:
            copy = (id_, headers.get("ce_attempt"))
            self.duplicates += copy in self.sent
            self.sent.add(copy)
        if self.numbered and None not in (key, id_, sequence):
            first = self.sequences[key].setdefault(sequence, id_)
            if first != id_:
                self.errors.append(f"{position}: ce_sequence {sequence} of {key} has the ids {first} and {id_}")

    def check_tombstone(self):
        if not self.compacted:
            raise Problem("the record has no value, but the topic is not compacted")

    def check_partition(self, message):
        expected = partition_of(message.key(), self.partitions)
        if message.partition() != expected:
            raise Problem(f"the key belongs to partition {expected} of {self.partitions}")

    def sequence(self, headers):
        data = headers.get("ce_sequence")
        if data is None:
            if self.numbered:
                raise Problem("ce_sequence is missing")
            return None
        if not re.fullmatch(rb"[0-9]{19}", data) or not 0 < int(data) < 1 << 63:
            raise Problem("ce_sequence is not a positive number of 19 digits")
        return int(data)

    def finish(self):
        """Checks the sequences for gaps, after all records were read."""
        for key, ids in self.sequences.items():
            missing = [number for number in range(1, max(ids) + 1) if number not in ids]
            if missing:
                self.errors.append(
                    f"{self.name}: ce_sequence {missing[0]} of {key} is missing ({len(missing)} missing in total)"
                )
            if len(set(ids.values())) < len(ids):
                self.errors.append(f"{self.name}: one ce_id of {key} has several values of ce_sequence")

    def __str__(self):
        types = ", ".join(f"{name.rpartition('.')[2]} {count}" for name, count in sorted(self.types.items()))
        types = f" ({types})" if types else ""
        tombstones = f", {self.tombstones} tombstones" if self.tombstones else ""
        verdict = f", {len(self.errors)} ERRORS" if self.errors else ""
        return (
            f"{self.name}: {self.records()} records, {len(self.types)} types{types}{tombstones}, "
            f"{self.duplicates} duplicates{verdict}"
        )


def decode(value, registry):
    """Returns the schema's id and full name. Raises Problem if the bytes cannot be decoded."""
    if len(value) < 5 or value[0] != 0:
        raise Problem("the value does not begin with a zero byte and a schema id")
    schema_id = int.from_bytes(value[1:5], "big")
    schema = registry.schema(schema_id)
    datum = io.BytesIO(value[5:])
    try:
        fastavro.schemaless_reader(datum, schema, None)
    except Exception as error:  # a decoder may raise anything for bytes that are not Avro
        raise Problem(f"not a {schema['name']} (schema {schema_id}): {type(error).__name__}: {error}") from error
    left = len(value) - 5 - datum.tell()
    if left:
        raise Problem(f"{left} bytes are left after a {schema['name']} (schema {schema_id})")
    return schema_id, schema["name"]


def envelope(headers, key, type_name, schema_id):
    """Checks the attributes of the CloudEvents Kafka binding in binary mode."""
    expected = {"ce_specversion": "1.0", "ce_subject": key}
    if type_name is not None:
        expected |= {
            "content-type": "application/avro",
            "ce_type": type_name,
            "ce_dataschema": f"urn:rollcall:schema:{schema_id}",
        }
    wrong = [
        f"{name} is {'missing' if name not in headers else f'{headers[name]!r}, not {value!r}'}"
        for name, value in expected.items()
        if value is not None and headers.get(name) != value.encode()
    ]
    others = {"ce_type", "ce_source", "ce_time"} - expected.keys()
    wrong += [f"{name} is missing" for name in sorted(others) if not headers.get(name)]
    if headers.get("ce_time") and not is_time(headers["ce_time"]):
        wrong.append("ce_time is not an RFC 3339 time")
    if wrong:
        raise Problem("; ".join(wrong))


def is_time(data):
    try:
        return datetime.fromisoformat(data.decode()).tzinfo is not None
    except ValueError:
        return False


def belongs(name, prefix):
    """Returns True if a topic has exactly this prefix, and not a longer one of another run."""
    if name.startswith("__") or not name.startswith(prefix):
        return False
    rest = name.removeprefix(prefix)
    return rest in TOPICS or not rest.endswith(tuple(TOPICS))


def offsets(admin, topics, spec):
    """Returns offsets by topic and partition."""
    partitions = [(topic.name, partition) for topic in topics.values() for partition in range(topic.partitions)]
    futures = admin.list_offsets({TopicPartition(*partition): spec for partition in partitions}, request_timeout=TIMEOUT)
    return {(key.topic, key.partition): future.result().offset for key, future in futures.items()}


def read(admin, consumer, topics, registry):
    """Reads the topics from the beginning to their current end."""
    starts = offsets(admin, topics, OffsetSpec.earliest())
    ends = {key: end for key, end in offsets(admin, topics, OffsetSpec.latest()).items() if end > starts[key]}
    # Assigns all together, because the client needs a second to find the leaders of newly assigned partitions.
    consumer.assign([TopicPartition(*key, starts[key]) for key in ends])
    while ends:
        message = consumer.poll(TIMEOUT)
        if message is None:
            raise TimeoutError(f"no record was received for {TIMEOUT} s, but {sorted(ends)} contain more")
        key = message.topic(), message.partition()
        end = ends.get(key)
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
            # The last offsets belong to control records, or to records that were compacted away.
            ends.pop(key, None)
        elif end is not None:
            if message.offset() < end:
                topics[message.topic()].take(message, registry)
            if message.offset() + 1 >= end:
                del ends[key]


def is_compacted(admin, name):
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    configs = admin.describe_configs([resource], request_timeout=TIMEOUT)[resource].result()
    return "compact" in configs["cleanup.policy"].value


def main():
    arguments = argparse.ArgumentParser(description="Decodes every record of Rollcall's topics.")
    arguments.add_argument("--prefix", default="", help="prefix of the topic names")
    prefix = arguments.parse_args().prefix
    unset = [name for name in ("KAFKA_BROKERS", "SCHEMA_REGISTRY_URL") if not os.environ.get(name)]
    if unset:
        sys.exit(f"decode.py: not set: {', '.join(unset)}")
    # Without log_level, the client logs every attempt to reach a broker that is down. Failures are raised anyway.
    brokers = {"bootstrap.servers": os.environ["KAFKA_BROKERS"], "log_level": 2}
    registry = Registry(os.environ["SCHEMA_REGISTRY_URL"])
    admin = AdminClient(brokers)
    # The group is never joined, and no offset is committed.
    settings = {
        "group.id": "third-party-python",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 10,  # many topics are short, so waiting for more records would take most of the time
    }
    consumer = Consumer(brokers | settings)
    try:
        topics = {
            name: Topic(name, name.removeprefix(prefix), len(found.partitions), is_compacted(admin, name))
            for name, found in sorted(admin.list_topics(timeout=TIMEOUT).topics.items())
            if belongs(name, prefix)
        }
        if topics:
            read(admin, consumer, topics, registry)
    finally:
        consumer.close()
    for topic in topics.values():
        topic.finish()
        print(topic)

    errors = [error for topic in topics.values() for error in topic.errors]
    records = sum(topic.records() for topic in topics.values())
    schemas = sum(not isinstance(schema, Problem) for schema in registry.schemas.values())
    if not records:
        errors.append(f"no topic with prefix {prefix!r} contains a record, so nothing was checked")
    for error in errors[:ERRORS_SHOWN]:
        print(f"ERROR {error}")
    if len(errors) > ERRORS_SHOWN:
        print(f"… and {len(errors) - ERRORS_SHOWN} more")
    absent = sorted(set(TOPICS) - {name.removeprefix(prefix) for name in topics})
    print(
        f"Python: {len(topics)} topics, {records} records, {schemas} schemas, {len(errors)} errors"
        + (f"; topics not found: {', '.join(absent)}" if absent else "")
    )
    return 1 if errors else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KafkaException, OSError) as failure:  # TimeoutError and urllib's errors are OSErrors
        sys.exit(f"decode.py: {failure}")
