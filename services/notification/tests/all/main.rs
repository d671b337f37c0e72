//! The service over a real MongoDB: messages go in through the real pipeline, e-mails come out of the real mailer.

mod app;
mod erasure;
mod links;
mod maildev;
mod mailer;
mod mailings;
mod mails;
mod messages;
mod reminders;
mod retention;
mod settings;
