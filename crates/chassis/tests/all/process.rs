//! Runs `src/bin/chassis-specimen.rs` as a process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{send_blocking, unreachable_address};

fn specimen(command: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_chassis-specimen"));
    process.args(command).env_clear();
    process
        .env("ADMIN_LISTEN", "127.0.0.1:0")
        .env("DATABASE_URL", "postgres://127.0.0.1/specimen");
    process.envs(settings.iter().copied());
    process
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    process
}

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.stderr.lines().map(line).collect()
    }

    fn messages(&self) -> Vec<String> {
        let lines = self.lines();
        lines
            .iter()
            .map(|line| line["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn errors(&self) -> Vec<Value> {
        self.lines()
            .into_iter()
            .filter(|line| line["level"] == "ERROR")
            .collect()
    }
}

fn end(command: &[&str], settings: &[(&str, &str)]) -> Ended {
    let output = specimen(command, settings).output().expect("the executable exists");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A running specimen, which is killed on drop.
struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    log: String,
    admin: SocketAddr,
}

impl Running {
    fn start(settings: &[(&str, &str)]) -> Running {
        Running::of(specimen(&["run"], settings))
    }

    fn of(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the executable exists");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut running = Running {
            child,
            stderr,
            log: String::new(),
            admin: nowhere,
        };
        let line = running.wait_for("its admin port is ");
        let message = line["message"].as_str().expect("a message");
        let (_, address) = message.rsplit_once(' ').expect("an address");
        running.admin = address.parse().expect("an address");
        running.wait_for("specimen 1.2.3 is running");
        running
    }

    fn wait_for(&mut self, words: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = self.stderr.read_line(&mut line).expect("UTF-8");
            assert_ne!(read, 0, "{words:?} was never logged, only {}", self.log);
            self.log.push_str(&line);
            if line.contains(words) {
                return serde_json::from_str(&line).expect("JSON");
            }
        }
    }

    fn signal(&self, signal: &str) {
        // The standard library can send only SIGKILL.
        let (signal, id) = (format!("-{signal}"), self.child.id().to_string());
        let status = Command::new("kill").args([signal, id]).status().expect("kill");
        assert!(status.success());
    }

    fn end(mut self) -> Ended {
        self.stderr.read_to_string(&mut self.log).expect("UTF-8");
        let code = self.child.wait().expect("the process was started").code();
        let (stdout, stderr) = (String::new(), std::mem::take(&mut self.log));
        Ended { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn both_signals_drain_inputs_then_outputs_and_exit_with_0() {
    for signal in ["TERM", "INT"] {
        let running = Running::start(&[]);
        assert_eq!(send_blocking(running.admin, "GET /ready").status, 200);
        running.signal(signal);
        let ended = running.end();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let messages = ended.messages();
        let position = |words| {
            messages
                .iter()
                .position(|message| message == words)
                .expect("the message was logged")
        };
        assert!(position("consumer drained") < position("relay drained"));
        assert!(position("relay drained") < position("specimen has stopped"));
        assert!(ended.errors().is_empty());
    }
}

#[test]
fn a_failed_task_leads_to_exit_code_70_and_one_line_with_the_error_chain() {
    let ended = end(&[], &[("BEHAVIOUR", "fails")]);
    assert_eq!(ended.code, Some(70));
    let [error] = &ended.errors()[..] else {
        panic!("one error: {}", ended.stderr)
    };
    assert_eq!(error["task"], "consumer");
    assert_eq!(error["error"], "cannot poll: the broker is unreachable");
    assert!(ended.messages().contains(&"relay drained".to_owned()));
}

#[test]
fn a_task_that_returns_or_panics_leads_to_exit_code_70() {
    let ended = end(&[], &[("BEHAVIOUR", "ends")]);
    assert_eq!((ended.code, ended.errors().len()), (Some(70), 1));

    let ended = end(&[], &[("BEHAVIOUR", "panics")]);
    assert_eq!(ended.code, Some(70));
    let [panic, task] = &ended.errors()[..] else {
        panic!("two errors: {}", ended.stderr)
    };
    assert_eq!(panic["message"], "panicked: unknown partition");
    assert!(
        panic["code.location"]
            .as_str()
            .expect("a location")
            .contains("chassis-specimen.rs")
    );
    assert_eq!(task["error"], "unknown partition");
    assert!(ended.messages().contains(&"relay drained".to_owned()));
}

#[test]
fn a_task_that_hangs_is_named_and_leads_to_exit_code_70() {
    let running = Running::start(&[("BEHAVIOUR", "hangs"), ("SHUTDOWN_TIMEOUT_MS", "50")]);
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code, Some(70));
    assert!(ended.errors()[0]["tasks"].as_str().expect("names").contains("consumer"));
    assert!(ended.messages().contains(&"relay drained".to_owned()));
}

#[test]
fn an_unreachable_dependency_leads_to_exit_code_69_and_the_error_chain() {
    let ended = end(&["run"], &[("BEHAVIOUR", "cannot-start")]);
    assert_eq!(ended.code, Some(69));
    let [error] = &ended.errors()[..] else {
        panic!("one error: {}", ended.stderr)
    };
    assert_eq!(error["error"], "no database: connection refused");
}

#[test]
fn an_admin_port_in_use_leads_to_exit_code_69() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let ended = end(&["run"], &[("ADMIN_LISTEN", &address)]);
    assert_eq!(ended.code, Some(69));
    assert!(ended.stderr.contains("ADMIN_LISTEN"), "{}", ended.stderr);
}

#[test]
fn invalid_settings_lead_to_exit_code_78_and_all_problems() {
    for command in ["run", "migrate"] {
        let settings = [
            ("DATABASE_URL", ""),
            ("BATCH_SIZE", "0"),
            ("RUST_LOG", "a=b=c"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ];
        let ended = end(&[command], &settings);
        assert_eq!(ended.code, Some(78));
        for name in [
            "DATABASE_URL is not set",
            "BATCH_SIZE is \"0\"",
            "RUST_LOG is",
            "OTEL_TRACES_SAMPLER_ARG must",
        ] {
            assert!(ended.stderr.contains(name), "{name} in {}", ended.stderr);
        }
        assert!(
            !ended.stderr.contains("starting"),
            "nothing was opened: {}",
            ended.stderr
        );
    }
}

#[test]
fn healthcheck_checks_the_running_process() {
    let running = Running::start(&[]);
    let admin = running.admin.to_string();
    let healthy = end(&["healthcheck"], &[("ADMIN_LISTEN", &admin)]);
    assert_eq!(
        (healthy.code, healthy.stdout.as_str()),
        (Some(0), "specimen is ready\n")
    );

    let down = Running::start(&[("BEHAVIOUR", "never-up")]);
    let admin = down.admin.to_string();
    let unhealthy = end(&["healthcheck"], &[("ADMIN_LISTEN", &admin)]);
    assert_eq!(unhealthy.code, Some(1));
    assert!(unhealthy.stderr.contains(r#""database""#), "{}", unhealthy.stderr);
}

#[test]
fn migrate_is_a_separate_command() {
    let ended = end(&["migrate"], &[]);
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.messages(), ["migrated postgres://127.0.0.1/specimen"]);
}

#[test]
fn unknown_commands_lead_to_exit_code_64_and_help_is_on_standard_output() {
    assert_eq!(end(&["serve"], &[]).code, Some(64));
    assert_eq!(end(&["run", "now"], &[]).code, Some(64));
    let help = end(&["--help"], &[]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("healthcheck") && help.stderr.is_empty());
    assert_eq!(end(&["--version"], &[]).stdout, "specimen 1.2.3\n");
}

#[test]
fn settings_are_listed_without_any_being_set() {
    let listed = end(&["settings"], &[("DATABASE_URL", "")]);
    assert_eq!(listed.code, Some(0));
    for name in [
        "DATABASE_URL",
        "BATCH_SIZE",
        "ADMIN_LISTEN",
        "SHUTDOWN_TIMEOUT_MS",
        "RUST_LOG",
        "LOG_FORMAT",
    ] {
        assert!(listed.stdout.contains(name), "{name} in {}", listed.stdout);
    }
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = include_str!("../../README.md");
    let listed = end(&["settings"], &[]).stdout;
    let chassis = listed
        .lines()
        .filter(|line| !line.contains("DATABASE_URL") && !line.contains("BEHAVIOUR") && !line.contains("BATCH_SIZE"));
    for line in chassis {
        let (name, rest) = line.split_once(' ').expect("a name");
        let (description, presence) = rest.trim().rsplit_once(" (").expect("a presence");
        let default = presence
            .strip_prefix("default ")
            .map(|text| format!("`{}` ", text.trim_end_matches(')')));
        let row = format!("| `{name}` | {}| {description} |", default.unwrap_or_default());
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn the_collector_receives_spans_and_the_log_contains_their_ids() {
    let collector = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = collector.local_addr().expect("bound");
    let schema = format!(
        "https://opentelemetry.io/schemas/{}",
        chassis::telemetry::SEMCONV_VERSION
    );
    // The data frames of HTTP/2 contain the protobuf messages unchanged.
    let received = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().expect("the exporter");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a valid timeout");
        let (mut received, mut buffer) = (Vec::new(), [0; 4096]);
        while !contains(&received, schema.as_bytes()) || !contains(&received, b"send") {
            match stream.read(&mut buffer).expect("more") {
                0 => break,
                read => received.extend_from_slice(&buffer[..read]),
            }
        }
        received
    });

    let running = Running::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))]);
    running.signal("TERM");
    let ended = running.end();
    // Unblocks the collector if the specimen has not connected.
    drop(TcpStream::connect(address));
    let received = received.join().expect("no panic");
    for words in ["service.name", "specimen", "service.instance.id", "batch", "send"] {
        assert!(contains(&received, words.as_bytes()), "{words}");
    }

    let lines = ended.lines();
    let line = lines
        .iter()
        .find(|line| line["message"] == "consumer drained")
        .expect("the message was logged");
    assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
    assert_eq!(line["span_id"].as_str().map(str::len), Some(16));
    assert_eq!(line["spans"], serde_json::json!([{"name": "batch", "size": 3}]));
}

#[test]
fn an_unreachable_collector_causes_one_warning_and_no_delay() {
    let (_reserved, address) = unreachable_address();
    let running = Running::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}"))]);
    let started = Instant::now();
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code, Some(0));
    assert!(started.elapsed() < Duration::from_secs(10));
    let warnings = ended.lines().into_iter().filter(|line| line["level"] == "WARN").count();
    assert_eq!(warnings, 1, "{}", ended.stderr);
}

#[test]
fn a_process_that_ran_out_of_files_accepts_connections_again() {
    let mut limited = Command::new("sh");
    limited.args([
        "-c",
        "ulimit -n 32 && exec \"$0\" run",
        env!("CARGO_BIN_EXE_chassis-specimen"),
    ]);
    limited
        .env_clear()
        .envs([
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", "postgres://127.0.0.1/specimen"),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = Running::of(limited);
    let many: Vec<_> = (0..31)
        .map(|_| TcpStream::connect(running.admin).expect("the system queues the connection"))
        .collect();
    running.wait_for("cannot accept a connection");
    drop(many);
    assert_eq!(send_blocking(running.admin, "GET /health").status, 200);
    running.signal("TERM");
    let ended = running.end();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.errors().len() < 20,
        "accept was retried in a busy loop: {} errors",
        ended.errors().len()
    );
}

#[test]
fn an_incomplete_request_to_the_admin_port_does_not_delay_the_end() {
    let running = Running::start(&[]);
    let mut half = TcpStream::connect(running.admin).expect("the admin port listens");
    half.write_all(b"GET /ready HTTP/1.1\r\nHo")
        .expect("the connection is open");
    running.signal("TERM");
    assert_eq!(running.end().code, Some(0));
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}
