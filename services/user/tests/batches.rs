//! With the real store, a batch has the same result as single commands: replies, domain events, states and rows.

use contracts::{
    Actor, ChangeUser, CreateUser, Date, DeactivateUser, EraseUser, Reply, UserCommand, UserEvent, UserProfileState,
    VerifyEmail,
};
use messaging::Outgoing;
use proptest::prelude::*;
use testing::Bench;
use user::store::UserStore;
use user::{MIGRATIONS, subscriptions};
use uuid::Uuid;

/// Few users and few names, so that they conflict often.
const USERS: u8 = 9;
const NAMES: u8 = 3;

type Request = (Uuid, UserCommand);

/// In upper or lower case, which is the same address.
fn any_email() -> impl Strategy<Value = String> {
    (0..NAMES, prop::bool::weighted(0.2), prop::bool::weighted(0.05)).prop_map(|(n, upper, malformed)| {
        let email = format!("p{n}@example.com");
        match (upper, malformed) {
            (_, true) => format!("p{n}"),
            (true, false) => email.to_uppercase(),
            (false, false) => email,
        }
    })
}

fn any_create() -> impl Strategy<Value = CreateUser> {
    (any_email(), 0..NAMES, prop::bool::weighted(0.1)).prop_map(|(email, n, nameless)| CreateUser {
        email,
        username: format!("name{n}"),
        full_name: if nameless { String::new() } else { "Ada Lovelace".into() },
        date_of_birth: Date::parse("1990-12-10").expect("a valid date"),
        time_zone: "UTC".into(),
    })
}

fn any_change() -> impl Strategy<Value = ChangeUser> {
    let full_name = prop::option::of(prop_oneof![4 => "[A-C]", 1 => Just(String::new())]);
    (
        prop::option::weighted(0.8, any_email()),
        full_name,
        any::<Option<bool>>(),
    )
        .prop_map(|(email, full_name, reminders)| ChangeUser {
            email,
            full_name,
            reminders,
            ..ChangeUser::default()
        })
}

fn any_request() -> impl Strategy<Value = Request> {
    let body = prop_oneof![
        6 => any_create().prop_map(UserCommand::from),
        6 => any_change().prop_map(UserCommand::from),
        3 => any_email().prop_map(|email| VerifyEmail { email }.into()),
        2 => Just(DeactivateUser { reason: "enough".into() }.into()),
        2 => Just(EraseUser {}.into()),
    ];
    (0..USERS, body).prop_map(|(n, body)| (Uuid::from_u128(1 + u128::from(n)), body))
}

#[derive(Debug, PartialEq)]
struct Outcome {
    replies: Vec<Result<i64, String>>,
    events: Vec<(Uuid, Option<i64>, &'static str)>,
    states: Vec<(Uuid, Option<i64>, UserProfileState)>,
    rows: Vec<String>,
}

async fn run(requests: &[Request], sizes: &[usize]) -> Outcome {
    let database = testing::postgres(&MIGRATIONS).await;
    let ledger = database.ledger();
    let bench = Bench::new("user", ledger.clone(), ledger, subscriptions(UserStore::new([])));
    let commands: Vec<_> = requests
        .iter()
        .map(|(key, body)| Outgoing::<UserCommand>::new(*key, body.clone()).actor(Actor::service("gateway")))
        .collect();
    let ids: Vec<_> = commands.iter().map(|command| command.id).collect();
    let (mut commands, mut sizes) = (commands.into_iter().peekable(), sizes.iter().cycle());
    while commands.peek().is_some() {
        let size = sizes.next().copied().unwrap_or(1);
        bench.deliver_all(commands.by_ref().take(size)).await;
    }
    let mut replies = Vec::new();
    for id in ids {
        replies.push(match bench.reply(id).await {
            Reply::CommandAccepted(accepted) => Ok(accepted.version),
            Reply::CommandRejected(rejected) => Err(rejected.code),
            Reply::CommandFailed(failed) => Err(failed.code),
        });
    }
    let events = bench.published_with_envelopes::<UserEvent>().await.into_iter();
    let states = bench.published_with_envelopes::<UserProfileState>().await.into_iter();
    let rows = "SELECT p::text FROM profiles p UNION ALL SELECT n::text FROM names n ORDER BY 1";
    Outcome {
        replies,
        events: events
            .map(|event| {
                let name = contracts::Message::type_name(&event.body);
                (event.envelope.key, event.envelope.sequence, name)
            })
            .collect(),
        states: states
            .map(|state| (state.envelope.key, state.envelope.sequence, state.body))
            .collect(),
        rows: sqlx::query_scalar(rows)
            .fetch_all(database.pool())
            .await
            .expect("the rows can be read"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_has_the_same_result_as_single_commands(
        requests in prop::collection::vec(any_request(), 30..50),
        sizes in prop::collection::vec(4..12_usize, 4),
    ) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be created");
        let (batched, one_by_one) = runtime.block_on(async { (run(&requests, &sizes).await, run(&requests, &[1]).await) });
        prop_assert_eq!(batched, one_by_one);
    }
}
