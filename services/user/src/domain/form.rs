//! Validation of the fields of a profile.

use contracts::{Date, FieldError, UserProfile};

use super::Accounts;

/// Maximum length of an e-mail address, in characters: RFC 5321, 4.5.3.1.3, without the angle brackets.
const MAX_EMAIL: usize = 254;
/// In years.
const MIN_AGE: u32 = 13;
/// In years. No one has ever lived longer, so an earlier date is a typing error.
const MAX_AGE: u32 = 130;

/// Code and message of an invalid field.
type Fault = (&'static str, &'static str);

/// Returns every invalid field of the profile, as of `today`.
pub(super) fn errors(profile: &UserProfile, today: Date, accounts: &Accounts) -> Vec<FieldError> {
    [
        ("email", email(&profile.email, accounts)),
        ("username", username(&profile.username)),
        ("full_name", full_name(&profile.full_name)),
        ("date_of_birth", date_of_birth(profile.date_of_birth, today)),
        ("time_zone", contracts::check_time_zone(&profile.time_zone)),
    ]
    .into_iter()
    .filter_map(|(field, fault)| fault.map(|(code, message)| error(field, code, message)))
    .collect()
}

pub(super) fn reason_errors(reason: &str) -> Vec<FieldError> {
    if reason.chars().count() > 500 {
        vec![error("reason", "too-long", "Use at most 500 characters.")]
    } else if reason.chars().any(char::is_control) {
        vec![error(
            "reason",
            "malformed",
            "Use a single line without control characters.",
        )]
    } else {
        Vec::new()
    }
}

pub(super) fn error(field: &str, code: &str, message: &str) -> FieldError {
    FieldError {
        field: field.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    }
}

/// A dot-atom at a host name (RFC 5321, 4.1.2, without quoted local parts and address literals), ASCII.
fn email(email: &str, accounts: &Accounts) -> Option<Fault> {
    if email.is_empty() {
        return Some(("required", "Enter an e-mail address."));
    }
    if email.len() > MAX_EMAIL {
        return Some(("too-long", "Use at most 254 characters."));
    }
    match parts(email) {
        None => Some(("malformed", "Enter a valid e-mail address such as ada@example.org.")),
        Some((_, domain)) if !accounts.allows_domain(domain) => Some((
            "domain-not-allowed",
            "E-mail addresses from this domain are not allowed. Use an address from a different domain.",
        )),
        Some(_) => None,
    }
}

pub(super) fn is_email(email: &str) -> bool {
    email.len() <= MAX_EMAIL && parts(email).is_some()
}

fn parts(email: &str) -> Option<(&str, &str)> {
    email
        .rsplit_once('@')
        .filter(|(local, domain)| is_local_part(local) && is_host_name(domain))
}

fn is_local_part(local: &str) -> bool {
    let is_atom = |atom: &str| {
        !atom.is_empty()
            && atom
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
    };
    local.len() <= 64 && local.split('.').all(is_atom)
}

fn is_host_name(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits would make it an IP address.
    domain.split('.').all(is_label)
        && domain
            .rsplit_once('.')
            .is_some_and(|(_, last)| last.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

fn username(username: &str) -> Option<Fault> {
    if username.is_empty() {
        Some(("required", "Enter a username."))
    } else if !username
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    {
        Some(("malformed", "Use only the characters a to z, 0 to 9 and _."))
    } else if username.len() < 3 {
        Some(("too-short", "Use at least 3 characters."))
    } else if username.len() > 30 {
        Some(("too-long", "Use at most 30 characters."))
    } else {
        None
    }
}

pub(super) fn is_username(name: &str) -> bool {
    username(name).is_none()
}

fn full_name(name: &str) -> Option<Fault> {
    if name.trim().is_empty() {
        Some(("required", "Enter a name."))
    } else if name.chars().count() > 200 {
        Some(("too-long", "Use at most 200 characters."))
    } else if name.chars().any(char::is_control) {
        Some(("malformed", "Use a single line without control characters."))
    } else {
        None
    }
}

/// A person born on 29 February is a year older on 1 March in years without a 29 February.
fn date_of_birth(born: Date, today: Date) -> Option<Fault> {
    match today.to_naive().years_since(born.to_naive()) {
        None => Some(("out-of-range", "The date of birth cannot be in the future.")),
        Some(age) if age < MIN_AGE => Some(("too-young", "You must be at least 13 years old.")),
        Some(age) if age > MAX_AGE => Some(("out-of-range", "Enter a date of birth within the last 130 years.")),
        Some(_) => None,
    }
}
