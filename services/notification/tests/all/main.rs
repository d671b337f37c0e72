//! The service over a real MongoDB: messages go in through the real pipeline, mails come out of the real mailer.

mod app;
mod maildev;
mod mailer;
mod mails;
mod settings;
