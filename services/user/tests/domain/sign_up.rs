//! Signing up and closing an account.

use contracts::{Actor, Aggregate, Command, CreateUser, DeactivateUser, Timestamp, UserCommand, UserEvent};
use user::domain::{Accounts, DuplicateCommand, Rejection, User};
use uuid::Uuid;

use crate::{ADA, BOB, command, created, date, deactivate, deactivated, invalid_fields, sign_up};

/// Returns Ada's account after these domain events.
fn given(events: &[UserEvent]) -> User {
    let mut user = User::default();
    for event in events {
        user.evolve(&mut Accounts::default(), ADA, event);
    }
    user
}

fn when(user: User, actor: Option<Actor>, body: impl Into<UserCommand>) -> Result<Vec<UserEvent>, Rejection> {
    user.decide(&Accounts::default(), &command(ADA, actor, body))
}

/// Decides and evolves a whole batch of commands to different accounts, as the runtime does.
fn batch(accounts: &mut Accounts, commands: &[(Uuid, UserCommand)]) -> Vec<Result<Vec<UserEvent>, Rejection>> {
    let mut users = std::collections::HashMap::<Uuid, User>::new();
    for (key, body) in commands {
        accounts
            .register_command(*key, body)
            .expect("one sign-up or change per key");
    }
    commands
        .iter()
        .map(|(key, body)| {
            let user = users.entry(*key).or_default();
            let events = user.decide(accounts, &command(*key, Some(Actor::User(*key)), body.clone()))?;
            for event in &events {
                user.evolve(accounts, *key, event);
            }
            Ok(events)
        })
        .collect()
}

fn email_of(email: &str) -> CreateUser {
    CreateUser {
        email: email.into(),
        ..sign_up()
    }
}

#[test]
fn a_sign_up_needs_no_actor() {
    assert_eq!(when(given(&[]), None, sign_up()), Ok(vec![created()]));
}

#[test]
fn all_invalid_fields_are_reported_together() {
    let create = CreateUser {
        email: "ada".into(),
        username: "A".into(),
        full_name: " ".into(),
        date_of_birth: date("2020-01-01"),
        time_zone: String::new(),
    };
    let found = invalid_fields(when(given(&[]), None, create));
    let expected = [
        ("email", "malformed"),
        ("username", "malformed"),
        ("full_name", "required"),
        ("date_of_birth", "too-young"),
        ("time_zone", "required"),
    ];
    assert_eq!(found, expected.map(|(field, code)| (field.to_owned(), code.to_owned())));
}

#[test]
fn valid_email_addresses_of_many_forms_are_accepted() {
    let longest = format!("{}@{}.com", "a".repeat(64), vec!["b".repeat(61); 3].join("."));
    for email in [
        "a@b.de",
        "ada.lovelace+events@mail.example.co.uk",
        "o'neil@xn--bcher-kva.example",
        &longest,
    ] {
        assert_eq!(when(given(&[]), None, email_of(email)), Ok(vec![created()]), "{email}");
    }
}

#[test]
fn malformed_email_addresses_are_rejected() {
    for email in [
        "@example.com",
        "ada@",
        "ada",
        "ada@example",
        "ada@@example.com",
        "ada lovelace@example.com",
        "ada@example..com",
        ".ada@example.com",
        "ada.@example.com",
        "ada@-example.com",
        "ada@example.com.",
        "ada@127.0.0.1",
        "ada@exam_ple.com",
        "ada@example.com\r\nBcc: bob@example.com",
        "ädä@example.com",
        &format!("{}@example.com", "a".repeat(65)),
    ] {
        let expected = [("email".to_owned(), "malformed".to_owned())];
        assert_eq!(
            invalid_fields(when(given(&[]), None, email_of(email))),
            expected,
            "{email}"
        );
    }
    let too_long = format!("{}@{}.com", "a".repeat(64), vec!["b".repeat(62); 3].join("."));
    assert_eq!(
        invalid_fields(when(given(&[]), None, email_of(&too_long))),
        [("email".into(), "too-long".into())]
    );
}

#[test]
fn only_allowed_email_domains_are_accepted() {
    let accounts = Accounts::new(["example.com".to_owned()].into());
    let decide = |email| given(&[]).decide(&accounts, &command(ADA, None, email_of(email)));
    assert_eq!(decide("ada@Example.COM"), Ok(vec![created()]));
    for email in ["ada@example.org", "ada@mail.example.com", "ada@notexample.com"] {
        assert_eq!(
            invalid_fields(decide(email)),
            [("email".into(), "domain-not-allowed".into())],
            "{email}"
        );
    }
}

#[test]
fn invalid_usernames_are_rejected() {
    let cases = [
        ("", "required"),
        ("ab", "too-short"),
        ("Ada", "malformed"),
        ("a-da", "malformed"),
        (&"a".repeat(31), "too-long"),
    ];
    for (username, code) in cases {
        let create = CreateUser {
            username: username.into(),
            ..sign_up()
        };
        assert_eq!(
            invalid_fields(when(given(&[]), None, create)),
            [("username".into(), code.into())],
            "{username}"
        );
    }
}

#[test]
fn invalid_names_and_time_zones_are_rejected() {
    for (full_name, code) in [
        ("\t", "required"),
        (&*"é".repeat(201), "too-long"),
        ("Ada\0", "malformed"),
    ] {
        let create = CreateUser {
            full_name: full_name.into(),
            ..sign_up()
        };
        assert_eq!(
            invalid_fields(when(given(&[]), None, create)),
            [("full_name".into(), code.into())],
            "{full_name}"
        );
    }
    for time_zone in ["/", "Europe/", "Europe Berlin", &*"a".repeat(65)] {
        let create = CreateUser {
            time_zone: time_zone.into(),
            ..sign_up()
        };
        assert_eq!(
            invalid_fields(when(given(&[]), None, create)),
            [("time_zone".into(), "malformed".into())],
            "{time_zone}"
        );
    }
    for time_zone in ["UTC", "Etc/GMT+1", "America/Argentina/Buenos_Aires"] {
        let create = CreateUser {
            time_zone: time_zone.into(),
            ..sign_up()
        };
        assert_eq!(when(given(&[]), None, create), Ok(vec![created()]), "{time_zone}");
    }
}

#[test]
fn a_user_must_be_thirteen_to_the_day() {
    let sign_up_on = |today: &str, born: &str| {
        let create = CreateUser {
            date_of_birth: date(born),
            ..sign_up()
        };
        let time = Timestamp::parse(&format!("{today}T00:00:00Z")).expect("a valid time");
        given(&[]).decide(
            &Accounts::default(),
            &Command {
                time,
                ..command(ADA, None, create)
            },
        )
    };
    let cases = [
        ("2026-03-01", "2013-03-01", None),
        ("2026-03-01", "2013-03-02", Some("too-young")),
        // Born on a leap day: a year older on 1 March in years without a 29 February, otherwise on the day.
        ("2025-02-28", "2012-02-29", Some("too-young")),
        ("2025-03-01", "2012-02-29", None),
        ("2028-02-28", "2012-02-29", None),
        ("2028-02-29", "2015-02-28", None),
        ("2028-02-29", "2015-03-01", Some("too-young")),
        ("2026-03-01", "2026-03-02", Some("out-of-range")),
        ("2026-03-01", "1850-01-01", Some("out-of-range")),
    ];
    for (today, born, expected) in cases {
        match (sign_up_on(today, born), expected) {
            (Ok(_), None) => {}
            (result, Some(code)) => {
                assert_eq!(
                    invalid_fields(result),
                    [("date_of_birth".into(), code.into())],
                    "{born} on {today}"
                );
            }
            (Err(rejection), None) => panic!("{born} on {today}: {rejection:?}"),
        }
    }
}

#[test]
fn an_account_is_created_once() {
    for events in [vec![created()], vec![created(), deactivated("on request")]] {
        assert_eq!(when(given(&events), None, sign_up()), Err(Rejection::AlreadyExists));
    }
}

#[test]
fn an_email_or_username_of_another_user_is_taken() {
    let mut accounts = Accounts::default();
    accounts.add_email_holder("ADA@example.com", BOB);
    let result = given(&[]).decide(&accounts, &command(ADA, None, sign_up()));
    assert_eq!(
        result,
        Err(Rejection::Taken {
            email: true,
            username: false
        })
    );

    accounts.add_username_holder("ada_1815", BOB);
    let result = given(&[]).decide(&accounts, &command(ADA, None, sign_up()));
    assert_eq!(
        result,
        Err(Rejection::Taken {
            email: true,
            username: true
        })
    );
}

#[test]
fn the_second_sign_up_of_a_batch_sees_the_names_of_the_first() {
    let other_case = CreateUser {
        email: "Ada@Example.com".into(),
        username: "bob".into(),
        ..sign_up()
    };
    let results = batch(
        &mut Accounts::default(),
        &[(ADA, sign_up().into()), (BOB, other_case.into())],
    );
    assert_eq!(
        results,
        [
            Ok(vec![created()]),
            Err(Rejection::Taken {
                email: true,
                username: false
            })
        ]
    );
}

#[test]
fn a_rejected_sign_up_takes_no_name() {
    let invalid = CreateUser {
        full_name: String::new(),
        ..sign_up()
    };
    let results = batch(
        &mut Accounts::default(),
        &[(ADA, invalid.into()), (BOB, sign_up().into())],
    );
    assert!(matches!(results[0], Err(Rejection::Invalid(_))), "{results:?}");
    assert_eq!(results[1], Ok(vec![created()]));
}

#[test]
fn deactivation_frees_the_email_but_not_the_username() {
    let commands = |second: CreateUser| {
        [
            (ADA, sign_up().into()),
            (ADA, deactivate().into()),
            (BOB, second.into()),
        ]
    };

    let other_name = CreateUser {
        username: "bob".into(),
        ..sign_up()
    };
    let results = batch(&mut Accounts::default(), &commands(other_name));
    assert_eq!(
        results,
        [
            Ok(vec![created()]),
            Ok(vec![deactivated("on request")]),
            Ok(vec![created()])
        ]
    );

    let results = batch(&mut Accounts::default(), &commands(sign_up()));
    assert_eq!(
        results[2],
        Err(Rejection::Taken {
            email: false,
            username: true
        })
    );
}

#[test]
fn two_sign_ups_of_one_key_are_refused_in_one_batch() {
    let mut accounts = Accounts::default();
    assert_eq!(accounts.register_command(ADA, &sign_up().into()), Ok(()));
    assert_eq!(accounts.register_command(ADA, &sign_up().into()), Err(DuplicateCommand));
}

#[test]
fn only_well_formed_names_are_requested() {
    let mut accounts = Accounts::default();
    for create in [
        email_of("ada"),
        email_of("a\0da@example.com"),
        CreateUser {
            username: "A".into(),
            ..sign_up()
        },
    ] {
        assert_eq!(accounts.register_command(ADA, &create.into()), Ok(()));
    }
    assert_eq!(
        accounts.register_command(ADA, &email_of("ADA@example.com").into()),
        Ok(())
    );
    assert_eq!(accounts.requested_emails().collect::<Vec<_>>(), ["ada@example.com"]);
    assert_eq!(accounts.requested_usernames().collect::<Vec<_>>(), ["ada_1815"]);
}

#[test]
fn users_admins_and_services_can_close_an_account() {
    for actor in [Actor::User(ADA), Actor::Admin(BOB), Actor::service("gateway")] {
        assert_eq!(
            when(given(&[created()]), Some(actor), deactivate()),
            Ok(vec![deactivated("on request")])
        );
    }
}

#[test]
fn an_unknown_account_cannot_be_closed() {
    assert_eq!(
        when(given(&[]), Some(Actor::User(ADA)), deactivate()),
        Err(Rejection::Unknown)
    );
}

#[test]
fn a_closed_account_stays_closed() {
    let user = given(&[created(), deactivated("on request")]);
    assert_eq!(when(user, Some(Actor::User(ADA)), deactivate()), Ok(vec![]));
}

#[test]
fn a_reason_is_one_line() {
    for (reason, code) in [("a\nb", "malformed"), (&*"a".repeat(501), "too-long")] {
        let deactivate = DeactivateUser { reason: reason.into() };
        let result = when(given(&[created()]), Some(Actor::User(ADA)), deactivate);
        assert_eq!(invalid_fields(result), [("reason".into(), code.into())]);
    }
}

#[test]
fn each_rejection_maps_to_its_code() {
    let code = |rejection: Rejection| {
        let rejection = contracts::Rejection::from(rejection);
        assert!(!rejection.deferred, "{rejection:?}");
        rejection.code
    };
    assert_eq!(code(Rejection::Invalid(vec![])), "invalid");
    assert_eq!(
        code(Rejection::Taken {
            email: true,
            username: true
        }),
        "email-taken"
    );
    assert_eq!(
        code(Rejection::Taken {
            email: false,
            username: true
        }),
        "username-taken"
    );
    assert_eq!(code(Rejection::AlreadyExists), "already-exists");
    assert_eq!(code(Rejection::EmailChanged), "email-changed");
    assert_eq!(code(Rejection::Deactivated), "user-deactivated");
    assert_eq!(code(Rejection::Unknown), "user-unknown");
}
