import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.apache.avro.AvroRuntimeException;
import org.apache.avro.Conversions;
import org.apache.avro.Schema;
import org.apache.avro.data.TimeConversions;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.utils.Utils;

/**
 * Decodes every record of Rollcall's topics without Rollcall's code: with Kafka's Java client, Avro's Java library, and
 * the schemas in the registry.
 *
 * <pre>java -cp JARS Decode.java [--prefix P]</pre>
 *
 * Reads KAFKA_BROKERS and SCHEMA_REGISTRY_URL; exits with 1 if a record breaks a rule. Run it from the root of the
 * repository, because it uses the folder names of schemas/ as topic names. decode.py checks the same rules. The two
 * share no code, so neither can hide a bug of the other.
 */
final class Decode {
    /** Topics whose records have a sequence without gaps for each key. */
    private static final Set<String> DOMAIN_EVENTS = Set.of("users", "events", "registrations");
    private static final ByteArrayDeserializer BYTES = new ByteArrayDeserializer();
    private static final int ERRORS_SHOWN = 20;
    /** Time limit for a response of the broker or the registry. */
    private static final Duration TIMEOUT = Duration.ofSeconds(30);
    /**
     * Maximum length of a decoded value, larger than any record. Without it, the decoder could allocate gigabytes for
     * bytes that are not Avro.
     */
    private static final String MAX_LENGTH = String.valueOf(16 << 20);

    public static void main(String[] arguments) throws Exception {
        for (var limit : List.of("bytes", "string", "collectionItems")) {
            System.setProperty("org.apache.avro.limits." + limit + ".maxLength", MAX_LENGTH);
        }
        try {
            System.exit(run(prefix(arguments)) ? 0 : 1);
        } catch (ReadFailure | IOException | KafkaException | ExecutionException | TimeoutException failure) {
            System.err.println("Decode.java: " + failure);
            System.exit(1);
        }
    }

    private static String prefix(String[] arguments) {
        if (arguments.length == 0) {
            return "";
        }
        if (arguments.length == 2 && arguments[0].equals("--prefix")) {
            return arguments[1];
        }
        if (arguments.length == 1 && arguments[0].startsWith("--prefix=")) {
            return arguments[0].substring("--prefix=".length());
        }
        System.err.println("usage: Decode.java [--prefix P]");
        System.exit(2);
        throw new AssertionError();
    }

    private static boolean run(String prefix) throws Exception {
        var known = topicsOfSchemas();
        var brokers = new Properties();
        brokers.put("bootstrap.servers", setting("KAFKA_BROKERS"));
        brokers.put("default.api.timeout.ms", String.valueOf(TIMEOUT.toMillis()));
        var registry = new Registry(setting("SCHEMA_REGISTRY_URL"));
        // No group, so no offset is committed.
        var settings = new Properties();
        settings.putAll(brokers);
        settings.put("auto.offset.reset", "none");
        settings.put("enable.auto.commit", "false");
        // Many topics are short, so waiting for more records would take most of the time.
        settings.put("fetch.max.wait.ms", "10");

        var topics = new ArrayList<Topic>();
        try (var admin = Admin.create(brokers);
                var consumer = new KafkaConsumer<>(settings, BYTES, BYTES)) {
            for (var found : new TreeMap<>(consumer.listTopics()).entrySet()) {
                var name = found.getKey();
                if (belongs(name, prefix, known)) {
                    var knownAs = name.substring(prefix.length());
                    var topic = new Topic(name, knownAs, found.getValue().size(), isCompacted(admin, name));
                    topics.add(topic);
                    read(admin, consumer, topic, registry);
                    System.out.println(topic);
                }
            }
        }

        var errors = new ArrayList<String>();
        topics.forEach(topic -> errors.addAll(topic.errors));
        var records = topics.stream().mapToLong(topic -> topic.records).sum();
        if (records == 0) {
            errors.add("no topic with prefix '" + prefix + "' contains a record, so nothing was checked");
        }
        errors.stream().limit(ERRORS_SHOWN).forEach(error -> System.out.println("ERROR " + error));
        if (errors.size() > ERRORS_SHOWN) {
            System.out.println("… and " + (errors.size() - ERRORS_SHOWN) + " more");
        }
        var absent = new TreeSet<>(known);
        topics.forEach(topic -> absent.remove(topic.name.substring(prefix.length())));
        System.out.println("Java: " + topics.size() + " topics, " + records + " records, " + registry.count()
                + " schemas, " + errors.size() + " errors"
                + (absent.isEmpty() ? "" : "; topics not found: " + String.join(", ", absent)));
        return errors.isEmpty();
    }

    private static String setting(String name) {
        var value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new ReadFailure(name + " is not set");
        }
        return value;
    }

    private static Set<String> topicsOfSchemas() throws IOException {
        var schemas = Path.of("schemas");
        if (!Files.isDirectory(schemas)) {
            throw new ReadFailure("folder schemas/ not found: run this program from the root of the repository");
        }
        try (var folders = Files.list(schemas)) {
            return folders.filter(Files::isDirectory)
                    .map(folder -> folder.getFileName().toString())
                    .collect(Collectors.toSet());
        }
    }

    /** Returns true if a topic has exactly this prefix, and not a longer one of another run. */
    private static boolean belongs(String name, String prefix, Set<String> known) {
        if (name.startsWith("__") || !name.startsWith(prefix)) {
            return false;
        }
        var rest = name.substring(prefix.length());
        return known.contains(rest) || known.stream().noneMatch(rest::endsWith);
    }

    private static boolean isCompacted(Admin admin, String topic) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var configs = admin.describeConfigs(List.of(resource)).all().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS);
        return configs.get(resource).get("cleanup.policy").value().contains("compact");
    }

    private static Map<TopicPartition, Long> offsets(Admin admin, List<TopicPartition> partitions, OffsetSpec spec)
            throws Exception {
        var request = partitions.stream().collect(Collectors.toMap(partition -> partition, partition -> spec));
        var offsets = new HashMap<TopicPartition, Long>();
        admin.listOffsets(request).all().get(TIMEOUT.toSeconds(), TimeUnit.SECONDS)
                .forEach((partition, result) -> offsets.put(partition, result.offset()));
        return offsets;
    }

    /** Reads a topic from the beginning to its current end. */
    private static void read(Admin admin, KafkaConsumer<byte[], byte[]> consumer, Topic topic, Registry registry)
            throws Exception {
        var partitions = new ArrayList<TopicPartition>();
        for (int partition = 0; partition < topic.partitions; partition++) {
            partitions.add(new TopicPartition(topic.name, partition));
        }
        var starts = offsets(admin, partitions, OffsetSpec.earliest());
        var ends = offsets(admin, partitions, OffsetSpec.latest());
        ends.keySet().removeIf(partition -> ends.get(partition).equals(starts.get(partition)));
        consumer.assign(ends.keySet());
        ends.keySet().forEach(partition -> consumer.seek(partition, starts.get(partition)));
        var progress = System.nanoTime();
        while (!ends.isEmpty()) {
            var records = consumer.poll(Duration.ofSeconds(1));
            for (var record : records) {
                var end = ends.get(new TopicPartition(record.topic(), record.partition()));
                if (end != null && record.offset() < end) {
                    topic.take(record, registry);
                }
            }
            // The position also advances past control records and compacted records.
            var ended = ends.entrySet().removeIf(end -> consumer.position(end.getKey()) >= end.getValue());
            if (ended || !records.isEmpty()) {
                progress = System.nanoTime();
            } else if (System.nanoTime() - progress > TIMEOUT.toNanos()) {
                throw new ReadFailure("no record was received for " + TIMEOUT.toSeconds() + " s, but " + ends.keySet()
                        + " contain more");
            }
        }
        topic.finish();
    }

    /** A failure because of which records cannot be read: a setting, the broker or the registry. */
    private static final class ReadFailure extends RuntimeException {
        ReadFailure(String message) {
            super(message);
        }

        @Override
        public String toString() {
            return getMessage();
        }
    }

    /** A violation of a rule by a record. */
    private static final class Problem extends Exception {
        Problem(String message) {
            super(message);
        }
    }

    /** Schemas by id. The schema of an id never changes, so each is fetched once. */
    private static final class Registry {
        private final String url;
        private final HttpClient http = HttpClient.newBuilder().connectTimeout(TIMEOUT).build();
        private final Map<Integer, Schema> schemas = new HashMap<>();
        private final Map<Integer, String> failures = new HashMap<>();

        Registry(String url) {
            this.url = url.endsWith("/") ? url.substring(0, url.length() - 1) : url;
        }

        int count() {
            return schemas.size();
        }

        Schema schema(int id) throws Problem, IOException, InterruptedException {
            if (!schemas.containsKey(id) && !failures.containsKey(id)) {
                fetch(id);
            }
            if (failures.containsKey(id)) {
                throw new Problem(failures.get(id));
            }
            return schemas.get(id);
        }

        private void fetch(int id) throws IOException, InterruptedException {
            var request = HttpRequest.newBuilder(URI.create(url + "/schemas/ids/" + Integer.toUnsignedString(id)));
            var response = http.send(request.timeout(TIMEOUT).build(), HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() == 404) {
                failures.put(id, "the registry has no schema " + Integer.toUnsignedString(id));
                return;
            }
            if (response.statusCode() != 200) {
                throw new ReadFailure("the registry returned status " + response.statusCode() + " for schema " + id);
            }
            try {
                var text = new ObjectMapper().readTree(response.body()).get("schema").asText();
                schemas.put(id, new Schema.Parser().parse(text));
            } catch (AvroRuntimeException error) {
                failures.put(id, "schema " + id + " cannot be parsed: " + error.getMessage());
            }
        }
    }

    /** The records of a topic. */
    private static final class Topic {
        final String name;
        final int partitions;
        final boolean compacted;
        final boolean numbered;
        final Map<String, Integer> types = new TreeMap<>();
        final Set<String> sent = new HashSet<>();
        /** Ids by sequence, for each key. */
        final Map<String, TreeMap<Long, String>> sequences = new HashMap<>();
        final List<String> errors = new ArrayList<>();
        long records;
        long tombstones;
        long duplicates;

        Topic(String name, String knownAs, int partitions, boolean compacted) {
            this.name = name;
            this.partitions = partitions;
            this.compacted = compacted;
            this.numbered = DOMAIN_EVENTS.contains(knownAs);
        }

        /** Checks a record, and stores an error for each rule that it breaks. */
        void take(ConsumerRecord<byte[], byte[]> record, Registry registry) throws IOException, InterruptedException {
            records++;
            var position = name + "[" + record.partition() + "]@" + record.offset() + ": ";
            var headers = new HashMap<String, byte[]>();
            for (Header header : record.headers()) {
                if (headers.put(header.key(), header.value()) != null) {
                    errors.add(position + "header " + header.key() + " occurs more than once");
                }
            }

            Schema schema = null;
            if (record.value() == null) {
                tombstones++;
                if (!compacted) {
                    errors.add(position + "the record has no value, but the topic is not compacted");
                }
            } else {
                try {
                    schema = decode(record.value(), registry);
                } catch (Problem problem) {
                    errors.add(position + problem.getMessage());
                }
                types.merge(schema == null ? "?" : schema.getName(), 1, Integer::sum);
            }

            var key = uuidText(record.key());
            if (key == null) {
                errors.add(position + "the key is not a UUID in canonical form");
            }
            if (record.key() != null) {
                var expected = Utils.toPositive(Utils.murmur2(record.key())) % partitions;
                if (record.partition() != expected) {
                    errors.add(position + "the key belongs to partition " + expected + " of " + partitions);
                }
            }
            var wrong = envelope(headers, key, schema, schema == null ? 0 : schemaId(record.value()));
            if (!wrong.isEmpty()) {
                errors.add(position + String.join("; ", wrong));
            }
            var id = uuidText(headers.get("ce_id"));
            if (id == null) {
                errors.add(position + "ce_id is not a UUID in canonical form");
            } else if (!sent.add(id + " " + text(headers.get("ce_attempt")))) {
                duplicates++;
            }
            var sequence = sequence(headers.get("ce_sequence"), position);
            if (numbered && key != null && id != null && sequence > 0) {
                var first = sequences.computeIfAbsent(key, unseen -> new TreeMap<>()).putIfAbsent(sequence, id);
                if (first != null && !first.equals(id)) {
                    errors.add(position + "ce_sequence " + sequence + " of " + key + " has the ids " + first + " and "
                            + id);
                }
            }
        }

        /** Returns the sequence, or 0 if the header is missing or invalid. */
        private long sequence(byte[] header, String position) {
            if (header == null) {
                if (numbered) {
                    errors.add(position + "ce_sequence is missing");
                }
                return 0;
            }
            var text = text(header);
            // 19 nines exceed the range of a long.
            if (text.matches("[0-9]{19}") && text.compareTo(String.valueOf(Long.MAX_VALUE)) <= 0) {
                var number = Long.parseLong(text);
                if (number > 0) {
                    return number;
                }
            }
            errors.add(position + "ce_sequence is not a positive number of 19 digits");
            return 0;
        }

        /** Checks the sequences for gaps, after all records were read. */
        void finish() {
            sequences.forEach((key, ids) -> {
                long missing = ids.lastKey() - ids.size();
                if (missing > 0) {
                    long first = 1;
                    while (ids.containsKey(first)) {
                        first++;
                    }
                    errors.add(name + ": ce_sequence " + first + " of " + key + " is missing (" + missing
                            + " missing in total)");
                }
                if (new HashSet<>(ids.values()).size() < ids.size()) {
                    errors.add(name + ": one ce_id of " + key + " has several values of ce_sequence");
                }
            });
        }

        @Override
        public String toString() {
            var each = types.entrySet().stream().map(type -> type.getKey() + " " + type.getValue()).toList();
            return name + ": " + records + " records, " + types.size() + " types"
                    + (each.isEmpty() ? "" : " (" + String.join(", ", each) + ")")
                    + (tombstones == 0 ? "" : ", " + tombstones + " tombstones") + ", " + duplicates + " duplicates"
                    + (errors.isEmpty() ? "" : ", " + errors.size() + " ERRORS");
        }
    }

    private static final GenericData DATA = new GenericData();

    static {
        // Decodes logical types to UUIDs, dates and instants, so a string that is not a UUID fails here.
        DATA.addLogicalTypeConversion(new Conversions.UUIDConversion());
        DATA.addLogicalTypeConversion(new TimeConversions.DateConversion());
        DATA.addLogicalTypeConversion(new TimeConversions.TimestampMicrosConversion());
    }

    private static int schemaId(byte[] value) {
        return ByteBuffer.wrap(value, 1, 4).getInt();
    }

    /** Decodes a value to its last byte, and returns its schema. */
    private static Schema decode(byte[] value, Registry registry) throws Problem, IOException, InterruptedException {
        if (value.length < 5 || value[0] != 0) {
            throw new Problem("the value does not begin with a zero byte and a schema id");
        }
        int id = schemaId(value);
        var schema = registry.schema(id);
        var description = schema.getFullName() + " (schema " + id + ")";
        BinaryDecoder decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
        try {
            new GenericDatumReader<GenericRecord>(schema, schema, DATA).read(null, decoder);
            if (!decoder.isEnd()) {
                throw new Problem("bytes are left after a " + description);
            }
        } catch (IOException | RuntimeException error) {
            // A decoder may throw anything for bytes that are not Avro.
            throw new Problem("not a " + description + ": " + error);
        }
        return schema;
    }

    /** Checks the attributes of the CloudEvents Kafka binding in binary mode. */
    private static List<String> envelope(Map<String, byte[]> headers, String key, Schema schema, int schemaId) {
        var expected = new LinkedHashMap<String, String>();
        expected.put("ce_specversion", "1.0");
        if (key != null) {
            expected.put("ce_subject", key);
        }
        if (schema != null) {
            expected.put("content-type", "application/avro");
            expected.put("ce_type", schema.getFullName());
            expected.put("ce_dataschema", "urn:rollcall:schema:" + schemaId);
        }
        var wrong = new ArrayList<String>();
        expected.forEach((name, value) -> {
            var header = headers.get(name);
            if (header == null) {
                wrong.add(name + " is missing");
            } else if (!Arrays.equals(header, value.getBytes(StandardCharsets.UTF_8))) {
                wrong.add(name + " is '" + text(header) + "', not '" + value + "'");
            }
        });
        for (var name : List.of("ce_source", "ce_time", "ce_type")) {
            if (!expected.containsKey(name) && text(headers.get(name)).isEmpty()) {
                wrong.add(name + " is missing");
            }
        }
        var time = text(headers.get("ce_time"));
        if (!time.isEmpty() && !isTime(time)) {
            wrong.add("ce_time is not an RFC 3339 time");
        }
        return wrong;
    }

    private static boolean isTime(String text) {
        try {
            OffsetDateTime.parse(text);
            return true;
        } catch (DateTimeParseException error) {
            return false;
        }
    }

    private static String text(byte[] data) {
        return data == null ? "" : new String(data, StandardCharsets.UTF_8);
    }

    /** Returns a UUID in its canonical form (36 characters, lower case), or null. */
    private static String uuidText(byte[] data) {
        var text = text(data);
        try {
            return UUID.fromString(text).toString().equals(text) ? text : null;
        } catch (IllegalArgumentException error) {
            return null;
        }
    }
}
