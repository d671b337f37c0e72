//! A batch has the same result as single commands. `tests/properties.rs` verifies the rules with a simple store; these
//! tests verify that the real store reads and writes the same.

#[path = "../support/commands.rs"]
mod commands;

use proptest::prelude::*;

use super::*;

fn outgoing(command: &Command<RegistrationCommand>) -> Outgoing<RegistrationCommand> {
    let actor = command.actor.clone().expect("every command has an actor");
    Outgoing::new(command.key, command.body.clone())
        .time(command.time)
        .actor(actor)
}

/// Executes the commands in batches of these sizes and returns the domain events and rows. Deferred commands stay
/// deferred.
async fn run(
    commands: &[Command<RegistrationCommand>],
    sizes: &[usize],
) -> (Vec<RegistrationEvent>, Vec<(Uuid, Uuid, String, i64)>) {
    let app = App::start().await;
    app.bench
        .deliver(Outgoing::<UserEvent>::new(
            commands::user(commands::USERS - 1),
            deactivated(),
        ))
        .await;
    let mut rest = commands;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (batch, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        app.bench.deliver_all(batch.iter().map(outgoing)).await;
    }
    (app.published().await, app.rows().await)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_has_the_same_result_as_single_commands(
        crowd in commands::any_crowd(),
        middle in commands::any_commands(6),
        ending in commands::any_ending(),
        sizes in prop::collection::vec(2..20_usize, 8),
    ) {
        // The times of the commands must be recent, because expired commands are not executed.
        let shift = Timestamp::now().since(commands::morning());
        let all: Vec<_> = crowd.into_iter().chain(middle).chain(ending).map(|command| later(command, shift)).collect();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be created");
        let (batched, one_by_one) = runtime.block_on(async { (run(&all, &sizes).await, run(&all, &[1]).await) });
        prop_assert_eq!(batched, one_by_one);
    }
}

/// Returns the command with all its times moved.
fn later(command: Command<RegistrationCommand>, by: Duration) -> Command<RegistrationCommand> {
    let body = match command.body {
        RegistrationCommand::FollowEvent(follow) => {
            let terms = follow.terms.map(|terms| Terms {
                registration_opens_at: terms.registration_opens_at.map(|time| time + by),
                registration_closes_at: terms.registration_closes_at + by,
                starts_at: terms.starts_at + by,
                ends_at: terms.ends_at + by,
                ..terms
            });
            FollowEvent { terms, ..follow }.into()
        }
        body => body,
    };
    Command {
        time: command.time + by,
        body,
        ..command
    }
}
