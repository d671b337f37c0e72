use std::collections::BTreeSet;

use postgres::Tx;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Email,
    Username,
}

/// A name and the user who has it.
pub(super) type Name = (Kind, String, Uuid);

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
        }
    }
}

/// Returns those of the names that are taken, with their holders.
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

/// Deletes names so that other users can take them. A name that meanwhile belongs to another user is kept.
pub(super) async fn delete(tx: &mut Tx, names: &BTreeSet<Name>) -> Result<(), sqlx::Error> {
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

/// Inserts names that the context found free, in sorted order.
///
/// # Errors
/// Fails with a unique violation if another transaction has taken one of the names.
pub(super) async fn insert(tx: &mut Tx, names: &BTreeSet<Name>) -> Result<(), sqlx::Error> {
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
