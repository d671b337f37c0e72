//! Sends e-mails by SMTP over pooled connections.

use std::error::Error as _;
use std::time::Duration;

use chassis::settings::Value;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{self, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{MailServer, SendError};
use crate::templates::RenderedMail;

/// Timeout for one response of the server.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The sender of all e-mails, for example `Rollcall <mail@example.org>`.
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

/// A mail server that is reached by SMTP.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Sender,
}

/// Checks that a URL names a mail server: `smtp://[user:password@]host[:port][?tls=required]`, or `smtps://…`.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
        .map(drop)
        .map_err(|_| "must be smtp://host:port, smtp://host:port?tls=required or smtps://host:port")
}

impl Smtp {
    /// Creates the client without opening a connection. It keeps at most `connections` connections open at a time.
    pub fn new(url: &str, from: Sender, connections: u32) -> Result<Self, smtp::Error> {
        let pool = PoolConfig::new().max_size(connections);
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)?
            .timeout(Some(RESPONSE_TIMEOUT))
            .pool_config(pool)
            .build();
        Ok(Self { transport, from })
    }

    fn message(&self, mail: &RenderedMail) -> Result<Message, SendError> {
        let address: Address = mail
            .to_address
            .parse()
            .map_err(|_| SendError::Permanent("the e-mail address is invalid".to_owned()))?;
        let name = (!mail.to_name.is_empty()).then(|| mail.to_name.clone());
        let message_id = format!("<{}@{}>", mail.message_id, self.from.0.email.domain());
        let automatic = HeaderValue::new(
            // RFC 3834: prevents automatic replies such as out-of-office notices.
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        );
        Message::builder()
            .from(self.from.0.clone())
            .to(Mailbox::new(name, address))
            .subject(&mail.subject)
            .message_id(Some(message_id))
            .raw_header(automatic)
            .multipart(MultiPart::alternative_plain_html(mail.text.clone(), mail.html.clone()))
            // Temporary, because this is a bug that the next version may fix.
            .map_err(|_| SendError::Temporary("the e-mail could not be assembled".to_owned()))
    }
}

impl MailServer for Smtp {
    async fn send(&self, mail: &RenderedMail) -> Result<(), SendError> {
        let message = self.message(mail)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(send_error(&error)),
        }
    }
}

fn send_error(error: &smtp::Error) -> SendError {
    if error.is_client() || error.is_response() {
        return SendError::Temporary("the mail server sent an unexpected response".to_owned());
    }
    let Some(code) = error.status().map(u16::from) else {
        return SendError::Unreachable("the mail server is unreachable".to_owned());
    };
    let detail = error
        .source()
        .map(ToString::to_string)
        .and_then(|text| enhanced_status(&text).map(str::to_owned));
    let response = match detail {
        Some(detail) => format!("the mail server responded with {code} {detail}"),
        None => format!("the mail server responded with {code}"),
    };
    match code {
        // The server shuts down, or rejects our credentials or configuration. This concerns all e-mails.
        421 | 454 | 530 | 534 | 535 | 538 => SendError::Unreachable(response),
        500.. => SendError::Permanent(response),
        _ => SendError::Temporary(response),
    }
}

/// Returns the enhanced status code (RFC 3463) at the beginning of a response, for example `5.1.1`.
fn enhanced_status(text: &str) -> Option<&str> {
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

    fn mail() -> RenderedMail {
        RenderedMail {
            message_id: Uuid::from_u128(7),
            to_name: "Ada Łovelace, \"Countess\"".to_owned(),
            to_address: "ada@example.org".to_owned(),
            subject: "Your seat is confirmed: Köln".to_owned(),
            text: "Hello\n".to_owned(),
            html: "<p>Hello</p>\n".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_mail_has_a_text_and_an_html_part_and_a_stable_message_id() {
        let formatted = |mail: &RenderedMail| {
            let message = smtp().message(mail).expect("a message");
            String::from_utf8(message.formatted()).expect("ASCII")
        };
        let (first, second) = (formatted(&mail()), formatted(&mail()));
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
    async fn an_invalid_address_is_rejected_permanently() {
        let mail = RenderedMail {
            to_address: "nowhere".to_owned(),
            ..mail()
        };
        assert!(matches!(smtp().send(&mail).await, Err(SendError::Permanent(_))));
    }

    #[tokio::test]
    async fn a_server_that_refuses_the_connection_is_unreachable() {
        assert!(matches!(smtp().send(&mail()).await, Err(SendError::Unreachable(_))));
    }

    #[test]
    fn only_the_codes_of_a_response_are_kept() {
        assert_eq!(enhanced_status("5.1.1 <ada@example.org>: no such user"), Some("5.1.1"));
        assert_eq!(enhanced_status("4.7.650 later"), Some("4.7.650"));
        assert_eq!(enhanced_status("<ada@example.org> unknown"), None);
        assert_eq!(enhanced_status("127.0.0.1 refused you"), None);
        assert_eq!(enhanced_status(""), None);
    }

    #[test]
    fn a_url_is_checked_without_opening_a_connection() {
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
