//! SMTP, over pooled connections.

use std::error::Error as _;
use std::time::Duration;

use chassis::settings::Value;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{MailServer, NotSent};
use crate::letter::Letter;

/// For one answer of the server.
const ANSWER: Duration = Duration::from_secs(10);

/// Who the mails come from: `Rollcall <mail@example.org>`.
#[derive(Debug, Clone)]
pub struct Sender(Mailbox);

impl Value for Sender {
    fn parse(_: &str, text: &str) -> Result<Self, String> {
        let mailbox = text
            .parse()
            .map_err(|_| "must be an address, such as Rollcall <mail@example.org>")?;
        Ok(Self(mailbox))
    }
}

/// A server that is reached by SMTP.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Sender,
}

/// Whether a URL names a server: `smtp://[user:password@]host[:port][?tls=required]`, or `smtps://…`.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match AsyncSmtpTransport::<Tokio1Executor>::from_url(url) {
        Ok(_) => Ok(()),
        Err(_) => Err("must be smtp://host:port, smtp://host:port?tls=required or smtps://host:port"),
    }
}

impl Smtp {
    /// Opens no connection yet. At most `connections` are open at a time.
    pub fn new(url: &str, from: Sender, connections: u32) -> Result<Self, smtp::Error> {
        let pool = PoolConfig::new().max_size(connections);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?
            .timeout(Some(ANSWER))
            .pool_config(pool)
            .build();
        Ok(Self { transport, from })
    }

    fn message(&self, letter: &Letter) -> Result<Message, NotSent> {
        let address: Address = letter
            .to_address
            .parse()
            .map_err(|_| NotSent::Refused("the address is not one".to_owned()))?;
        let name = (!letter.to_name.is_empty()).then(|| letter.to_name.clone());
        let message_id = format!("<{}@{}>", letter.message_id, self.from.0.email.domain());
        let automatic = HeaderValue::new(
            // RFC 3834: nobody's out-of-office answers it.
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        );
        Message::builder()
            .from(self.from.0.clone())
            .to(Mailbox::new(name, address))
            .subject(&letter.subject)
            .message_id(Some(message_id))
            .raw_header(automatic)
            .multipart(MultiPart::alternative_plain_html(
                letter.text.clone(),
                letter.html.clone(),
            ))
            // A fault of ours, so the next version may do better.
            .map_err(|_| NotSent::Later("the letter can't be put together".to_owned()))
    }
}

impl MailServer for Smtp {
    async fn send(&self, letter: &Letter) -> Result<(), NotSent> {
        let message = self.message(letter)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(not_sent(&error)),
        }
    }
}

fn not_sent(error: &smtp::Error) -> NotSent {
    if error.is_client() || error.is_response() {
        return NotSent::Later("the mail server answered something unexpected".to_owned());
    }
    let Some(code) = error.status().map(u16::from) else {
        return NotSent::Unreachable("the mail server can't be reached".to_owned());
    };
    let detail = error
        .source()
        .map(ToString::to_string)
        .and_then(|text| enhanced(&text).map(str::to_owned));
    let answered = match detail {
        Some(detail) => format!("the mail server answered {code} {detail}"),
        None => format!("the mail server answered {code}"),
    };
    match code {
        // Going down, or not ours to use as we are configured: that is no letter's fault.
        421 | 454 | 530 | 534 | 535 | 538 => NotSent::Unreachable(answered),
        500.. => NotSent::Refused(answered),
        _ => NotSent::Later(answered),
    }
}

/// The enhanced status code (RFC 3463) in front of an answer's text, e.g. `5.1.1`.
fn enhanced(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let numbers: Vec<_> = word.split('.').collect();
    let is_code = numbers.len() == 3
        && numbers
            .iter()
            .all(|number| matches!(number.len(), 1..=3) && number.bytes().all(|byte| byte.is_ascii_digit()));
    is_code.then_some(word)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn smtp() -> Smtp {
        let from = Sender::parse("MAIL_FROM", "Rollcall <mail@rollcall.example>").expect("an address");
        Smtp::new("smtp://127.0.0.1:1", from, 1).expect("a server")
    }

    fn letter() -> Letter {
        Letter {
            message_id: Uuid::from_u128(7),
            to_name: "Ada Łovelace, \"Countess\"".to_owned(),
            to_address: "ada@example.org".to_owned(),
            subject: "Your seat is confirmed: Köln".to_owned(),
            text: "Hello\n".to_owned(),
            html: "<p>Hello</p>\n".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_mail_has_both_forms_and_a_message_id_that_stays() {
        let formatted = |letter: &Letter| {
            let message = smtp().message(letter).expect("a message");
            String::from_utf8(message.formatted()).expect("ASCII")
        };
        let (first, second) = (formatted(&letter()), formatted(&letter()));
        let id = "Message-ID: <00000000-0000-0000-0000-000000000007@rollcall.example>\r\n";
        assert!(first.contains(id) && second.contains(id), "{first}");
        for part in [
            "multipart/alternative",
            "text/plain",
            "text/html",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_for_good() {
        let letter = Letter {
            to_address: "nowhere".to_owned(),
            ..letter()
        };
        assert!(matches!(smtp().send(&letter).await, Err(NotSent::Refused(_))));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_unreachable() {
        assert!(matches!(smtp().send(&letter()).await, Err(NotSent::Unreachable(_))));
    }

    #[test]
    fn of_an_answer_only_the_codes_are_kept() {
        assert_eq!(enhanced("5.1.1 <ada@example.org>: no such user"), Some("5.1.1"));
        assert_eq!(enhanced("4.7.650 later"), Some("4.7.650"));
        assert_eq!(enhanced("<ada@example.org> unknown"), None);
        assert_eq!(enhanced("127.0.0.1 refused you"), None);
        assert_eq!(enhanced(""), None);
    }

    #[test]
    fn urls_are_checked_before_anything_is_opened() {
        for url in [
            "smtp://127.0.0.1:1025",
            "smtps://ada:secret@mail.example.org",
            "smtp://mail:587?tls=required",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        assert!(check_url("http://mail.example.org").is_err());
    }
}
