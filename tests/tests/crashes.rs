//! kill -9 of every service while journeys are under way.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use rollcall::journey::{Journey, MAILS};
use rollcall::log_folder;
use rollcall::mails;
use rollcall::servers::Servers;
use rollcall::system::{Options, SERVICES, System};
use rollcall::topics::{self, DomainEvent};
use std::time::Duration;

const JOURNEYS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_service_loses_and_doubles_nothing() -> Result<()> {
    let options = Options::isolated(log_folder("crashes"));
    let mut system = System::start(Servers::from_env()?, options, |_| {}).await?;
    let gateway = system.gateways()[0].clone();
    let secrets = system.secrets().clone();

    // Each service is killed while journeys run, and started again before the next is.
    let players = (0..JOURNEYS).map(|_| {
        let (gateway, secrets) = (gateway.clone(), secrets.clone());
        async move { Journey::new(&gateway, |_| {}).patient().play_as(&secrets).await }
    });
    let chaos = async {
        for service in SERVICES {
            system.kill(service).await?;
            system.restart(service).await?;
        }
        anyhow::Ok(())
    };
    let (outcomes, killed) = tokio::join!(futures::future::join_all(players), chaos);
    killed.context("a service did not come back")?;

    for outcome in outcomes {
        let outcome = outcome.context("a journey did not end well")?;
        let mut journey = Journey::new(&gateway, |_| {});
        let people = [&outcome.organizer, &outcome.first, &outcome.second];
        let addresses = people.map(|person| person.email.clone());
        let arrived = mails::arrived(&system.servers.maildev, &addresses, MAILS, Duration::from_secs(60)).await?;
        // SMTP knows no transactions: a mail that was accepted when its sender was killed comes again, and has
        // the same Message-ID, by which mail programs know it.
        let distinct: std::collections::BTreeSet<_> = arrived.iter().map(|mail| &mail.message_id).collect();
        ensure!(
            distinct.len() == MAILS,
            "{MAILS} different mails were expected: {arrived:#?}"
        );
        journey.audit(&outcome).await?;
    }
    let events = topics::domain_events(&system.servers, &system.topic_prefix).await?;
    sequences_are_complete(&events)?;

    let wrong = system.stop().await?;
    ensure!(wrong.is_empty(), "the drain went wrong: {wrong:?}");
    Ok(())
}

/// Per topic and key, 1, 2, 3… without a gap, and never two messages under one number.
fn sequences_are_complete(events: &[DomainEvent]) -> Result<()> {
    let mut keys: HashMap<(&str, &str), HashMap<i64, &str>> = HashMap::new();
    for event in events {
        let numbers = keys.entry((event.topic.as_str(), event.key.as_str())).or_default();
        let known = numbers.entry(event.sequence).or_insert(event.id.as_str());
        ensure!(
            *known == event.id,
            "{} {} has two messages {}",
            event.topic,
            event.key,
            event.sequence
        );
    }
    for ((topic, key), numbers) in keys {
        for sequence in 1..=numbers.len() as i64 {
            ensure!(numbers.contains_key(&sequence), "{topic} {key} lacks {sequence}");
        }
    }
    Ok(())
}
