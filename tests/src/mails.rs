//! The e-mails that the SMTP catcher received.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

/// A received e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    pub to: String,
    pub subject: String,
    pub message_id: String,
}

/// Returns the e-mails to these addresses, in order of arrival.
pub async fn to(maildev: &str, addresses: &[String]) -> Result<Vec<Mail>> {
    let mails: Vec<Value> = reqwest::get(format!("{maildev}/email")).await?.json().await?;
    let text = |mail: &Value, pointer: &str| {
        mail.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Ok(mails
        .iter()
        .map(|mail| Mail {
            to: text(mail, "/to/0/address"),
            subject: text(mail, "/subject"),
            message_id: text(mail, "/messageId"),
        })
        .filter(|mail| addresses.contains(&mail.to))
        .collect())
}

/// Waits until `count` different e-mails have arrived.
pub async fn arrived(maildev: &str, addresses: &[String], count: usize, within: Duration) -> Result<Vec<Mail>> {
    let deadline = Instant::now() + within;
    loop {
        let mails = to(maildev, addresses).await?;
        let different = different(&mails);
        if different >= count {
            return Ok(mails);
        }
        if Instant::now() > deadline {
            bail!("{different} of {count} e-mails arrived within {within:?}: {mails:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks that exactly `count` e-mails were received, each once.
pub fn each_once(mails: &[Mail], count: usize) -> Result<()> {
    ensure!(
        different(mails) == count,
        "expected {count} different mails: {mails:#?}"
    );
    ensure!(mails.len() == count, "an e-mail was delivered twice: {mails:#?}");
    Ok(())
}

/// Counts Message-IDs, because a repeated e-mail keeps its Message-ID.
fn different(mails: &[Mail]) -> usize {
    mails.iter().map(|mail| &mail.message_id).collect::<BTreeSet<_>>().len()
}
