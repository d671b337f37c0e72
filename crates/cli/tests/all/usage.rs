//! What scripts rely on: exit codes, and nothing on standard output but the answer.

use crate::rollcall::Rollcall;

#[test]
fn help_is_no_error() {
    let answer = Rollcall::new().run(&["--help"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(
        answer.stdout.contains("Exit codes:") && answer.stderr.is_empty(),
        "{answer:?}"
    );
}

#[test]
fn a_wrong_command_line_is_64() {
    for arguments in [
        &["topcs"][..],
        &[],
        &["trace", "not-an-id"],
        &["status", "--every", "2"],
    ] {
        let answer = Rollcall::new().run(arguments);
        assert_eq!(answer.code, Some(64), "{answer:?}");
        assert!(answer.stdout.is_empty() && !answer.stderr.is_empty(), "{answer:?}");
    }
}

#[test]
fn a_missing_address_is_named() {
    let rollcall = Rollcall::new();
    let output = rollcall
        .command(&["topics", "diff"])
        .env_remove("KAFKA_BROKERS")
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--brokers"),
        "{output:?}"
    );
}

#[test]
fn a_server_that_does_not_answer_is_69_and_says_which() {
    // Nobody listens on port 1.
    let kafka = ["--brokers", "127.0.0.1:1"];
    let registry = ["--registry", "http://127.0.0.1:1"];
    let key = "01890a5d-ac96-774b-bcce-b302099a8057";
    let trace = [
        "trace",
        "0af7651916cd43dd8448eb211c80319c",
        "--jaeger",
        "http://127.0.0.1:1",
    ];
    let runs = [
        ([&["topics", "diff"][..], &kafka].concat(), "KAFKA_BROKERS"),
        ([&["topics", "apply"][..], &kafka].concat(), "KAFKA_BROKERS"),
        ([&["status"][..], &kafka, &registry].concat(), "KAFKA_BROKERS"),
        ([&["lag"][..], &kafka, &registry].concat(), "KAFKA_BROKERS"),
        ([&["schemas", "check"][..], &registry].concat(), "SCHEMA_REGISTRY_URL"),
        (
            [&["schemas", "register"][..], &registry].concat(),
            "SCHEMA_REGISTRY_URL",
        ),
        (
            [&["parked", "release", "user", "users", key][..], &kafka, &registry].concat(),
            "KAFKA_BROKERS",
        ),
        (
            [&["dead-letters", "list"][..], &kafka, &registry].concat(),
            "KAFKA_BROKERS",
        ),
        ([&["where-is", key][..], &kafka, &registry].concat(), "KAFKA_BROKERS"),
        (trace.to_vec(), "JAEGER_QUERY_URL"),
    ];
    std::thread::scope(|scope| {
        for (arguments, says) in runs {
            scope.spawn(move || {
                let answer = Rollcall::new().run(&arguments);
                assert_eq!(answer.code, Some(69), "{arguments:?}: {answer:?}");
                assert!(answer.stdout.is_empty(), "{answer:?}");
                assert!(
                    answer.stderr.starts_with("rollcall: ") && answer.stderr.contains(says),
                    "{answer:?}"
                );
            });
        }
    });
}
