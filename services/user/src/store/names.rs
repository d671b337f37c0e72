use std::collections::BTreeSet;

use postgres::Tx;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Email,
    Username,
}

/// A name, and who has it.
pub(super) type Name = (Kind, String, Uuid);

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
        }
    }
}

/// Those of the names that somebody has.
pub(super) async fn holders(tx: &mut Tx, names: &[(Kind, String)]) -> Result<Vec<Name>, sqlx::Error> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let held: Vec<(bool, String, Uuid)> = sqlx::query_as(
        "SELECT held.is_email, held.name, held.user_id FROM UNNEST($1::text[], $2::text[]) AS a (kind, name)
         CROSS JOIN LATERAL (
             SELECT kind = 'email' AS is_email, name, user_id FROM names WHERE kind = a.kind AND name = a.name LIMIT 1
         ) held",
    )
    .bind(names.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>())
    .bind(names.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    let named = held.into_iter().map(|(is_email, name, user)| {
        let kind = if is_email { Kind::Email } else { Kind::Username };
        (kind, name, user)
    });
    Ok(named.collect())
}

/// Whoever asks next may have these. A name that its user has not any more is left to whom it belongs to.
pub(super) async fn free(tx: &mut Tx, names: &BTreeSet<Name>) -> Result<(), sqlx::Error> {
    if names.is_empty() {
        return Ok(());
    }
    let (kinds, names, users) = columns(names);
    sqlx::query(
        "DELETE FROM names n USING UNNEST($1::text[], $2::text[], $3::uuid[]) AS freed (kind, name, user_id)
         WHERE n.kind = freed.kind AND n.name = freed.name AND n.user_id = freed.user_id",
    )
    .bind(kinds)
    .bind(names)
    .bind(users)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The rows that make what the context found free belong to one user, in sorted order.
pub(super) async fn claim(tx: &mut Tx, names: &BTreeSet<Name>) -> Result<(), sqlx::Error> {
    if names.is_empty() {
        return Ok(());
    }
    let (kinds, names, users) = columns(names);
    sqlx::query("INSERT INTO names (kind, name, user_id) SELECT * FROM UNNEST($1::text[], $2::text[], $3::uuid[])")
        .bind(kinds)
        .bind(names)
        .bind(users)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn columns(names: &BTreeSet<Name>) -> (Vec<&'static str>, Vec<&str>, Vec<Uuid>) {
    let kinds = names.iter().map(|(kind, ..)| kind.as_str()).collect();
    let users = names.iter().map(|(.., user)| *user).collect();
    (kinds, names.iter().map(|(_, name, _)| name.as_str()).collect(), users)
}
