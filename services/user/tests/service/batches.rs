//! A batch has the same result as single commands: replies, domain events, states and rows.

use contracts::{ChangeUser, CreateUser, Date, DeactivateUser, EraseUser, UserCommand, UserEvent, UserProfileState};
use proptest::prelude::*;
use uuid::Uuid;

use crate::{App, Outcome, by_service, verify};

/// Few users and few names, so they conflict often.
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
        3 => any_email().prop_map(|email| verify(&email).into()),
        2 => Just(DeactivateUser { reason: "enough".into() }.into()),
        2 => Just(EraseUser {}.into()),
    ];
    (0..USERS, body).prop_map(|(n, body)| (Uuid::from_u128(1 + u128::from(n)), body))
}

#[derive(Debug, PartialEq)]
struct Outcomes {
    replies: Vec<Outcome>,
    events: Vec<(Uuid, Option<i64>, &'static str)>,
    states: Vec<(Uuid, Option<i64>, UserProfileState)>,
    rows: Vec<String>,
}

async fn run(requests: &[Request], sizes: &[usize]) -> Outcomes {
    let app = App::start().await;
    let commands: Vec<_> = requests
        .iter()
        .map(|(key, body)| by_service(*key, body.clone()))
        .collect();
    let ids: Vec<_> = commands.iter().map(|command| command.id).collect();
    let (mut commands, mut sizes) = (commands.into_iter().peekable(), sizes.iter().cycle());
    while commands.peek().is_some() {
        let size = sizes.next().copied().unwrap_or(1);
        app.bench.deliver_all(commands.by_ref().take(size)).await;
    }
    let events = app.bench.published_with_envelopes::<UserEvent>().await.into_iter();
    let states = app
        .bench
        .published_with_envelopes::<UserProfileState>()
        .await
        .into_iter();
    let rows = "SELECT p::text FROM profiles p UNION ALL SELECT n::text FROM names n ORDER BY 1";
    Outcomes {
        replies: app.outcomes(ids).await,
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
            .fetch_all(app.database.pool())
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
