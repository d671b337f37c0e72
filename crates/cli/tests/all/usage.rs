//! Behaviour that scripts rely on: exit codes, and results but no errors on standard output.

use crate::rollcall::Rollcall;

#[test]
fn help_leads_to_exit_code_0() {
    let output = Rollcall::new().run(&["--help"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("Exit codes:") && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn an_invalid_command_line_leads_to_exit_code_64() {
    for arguments in [
        &["topcs"][..],
        &[],
        &["trace", "not-an-id"],
        &["status", "--every", "2"],
    ] {
        let output = Rollcall::new().run(arguments);
        assert_eq!(output.code, Some(64), "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_missing_address_is_named() {
    let rollcall = Rollcall::new();
    let output = rollcall
        .command(&["topics", "diff"])
        .env_remove("KAFKA_BROKERS")
        .output()
        .expect("rollcall starts");
    assert_eq!(output.status.code(), Some(64));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--brokers"),
        "{output:?}"
    );
}

#[test]
fn an_unreachable_server_is_named_and_leads_to_exit_code_69() {
    // No process listens on port 1.
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
        for (arguments, setting) in runs {
            scope.spawn(move || {
                let output = Rollcall::new().run(&arguments);
                assert_eq!(output.code, Some(69), "{arguments:?}: {output:?}");
                assert!(output.stdout.is_empty(), "{output:?}");
                assert!(
                    output.stderr.starts_with("rollcall: ") && output.stderr.contains(setting),
                    "{output:?}"
                );
            });
        }
    });
}
