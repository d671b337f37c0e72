//! All that is known of a person, as one document.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use chrono::{DateTime, Utc};
use contracts::{Actor, AuditQuery, FindAuditEntries};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::Id;
use crate::api::operations::OperationView;
use crate::api::principal::Member;
use crate::api::question::ask;
use crate::app::App;
use crate::error::Error;
use crate::principal::Principal;
use crate::store::events::{self, Event};
use crate::store::notifications::{self, Notification};
use crate::store::operations::{self, Kind};
use crate::store::page::{self, List, Page, PageCursor, PageRequest};
use crate::store::registrations::{self, Registration};
use crate::store::sessions::{self, Family};
use crate::store::users::{self, User};

/// Items of one list, at most: more than a person comes to.
const MOST: usize = 10_000;
/// Items that are read at once.
const PIECE: u16 = 200;
/// How long the audit service may take for all of its pages.
const AUDIT_WAIT: Duration = Duration::from_secs(20);

/// All that is known of a person.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Export {
    exported_at: DateTime<Utc>,
    /// Profile and roles.
    user: User,
    sessions: Vec<Family>,
    /// Events that the person organizes.
    events: Vec<Event>,
    registrations: Vec<Registration>,
    notifications: Vec<Notification>,
    operations: Vec<OperationView>,
    /// What was done by the person, and to the account, as the audit service keeps it.
    #[schema(value_type = Vec<Object>)]
    audit: Vec<Value>,
    /// Whether the audit trail holds more than is in here.
    audit_is_cut: bool,
}

/// All that is known of you, as JSON.
#[utoipa::path(
    get, path = "/v1/users/{id}/export", tag = "users", operation_id = "exportUser",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = OK, body = Export)),
)]
pub(in crate::api) async fn export(
    State(app): State<App>,
    member: Member,
    Id(id): Id,
) -> Result<([(HeaderName, HeaderValue); 1], Json<Export>), Error> {
    let pool = app.pool();
    let user = users::find(pool, id, member.viewer()).await?.ok_or(Error::NotFound)?;
    let trail = trail(&app, &member, id).await?;
    let operations = whole(|cut| operations::of_user(pool, id, cut)).await?;
    let any = notifications::Filter {
        event: None,
        kind: None,
    };
    let export = Export {
        exported_at: Utc::now(),
        user,
        sessions: sessions::of_user(pool, id).await?,
        events: whole(|cut| events::of_organizer(pool, id, cut)).await?,
        registrations: whole(|cut| registrations::of_user(pool, id, cut)).await?,
        notifications: whole(|cut| notifications::of_user(pool, id, any, cut)).await?,
        operations: operations.into_iter().map(OperationView::from).collect(),
        audit: trail.entries,
        audit_is_cut: trail.is_cut,
    };
    let file = HeaderValue::from_static("attachment; filename=\"rollcall.json\"");
    Ok(([(header::CONTENT_DISPOSITION, file)], Json(export)))
}

/// Every page of a list.
async fn whole<P: PageCursor + Copy, T, F>(mut read: impl FnMut(PageRequest<P>) -> F) -> sqlx::Result<Vec<T>>
where
    F: Future<Output = sqlx::Result<Page<T>>>,
{
    let list = List::default();
    let mut cut = PageRequest {
        after: None,
        limit: PIECE,
        list,
    };
    let mut items = Vec::new();
    loop {
        let page = read(cut).await?;
        items.extend(page.items);
        let next = page.next.and_then(|next| page::decode(&next, list));
        if next.is_none() || items.len() >= MOST {
            return Ok(items);
        }
        cut.after = next;
    }
}

#[derive(Default)]
struct Trail {
    entries: Vec<Value>,
    is_cut: bool,
}

#[derive(Deserialize)]
struct Answer {
    entries: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Page by page over Kafka: what the person did, and what was done to the account.
async fn trail(app: &App, principal: &Principal, id: Uuid) -> Result<Trail, Error> {
    let deadline = Instant::now() + AUDIT_WAIT;
    let mut trail = Trail::default();
    let by = [Actor::User(id), Actor::Admin(id)].map(|actor| (Some(actor.to_string()), None));
    for (actor, aggregate_id) in by.into_iter().chain([(None, Some(id))]) {
        let mut cursor = None;
        loop {
            let question = FindAuditEntries {
                aggregate_id,
                correlation_id: None,
                actor: actor.clone(),
                message_type: None,
                from: None,
                until: None,
                cursor,
                limit: i32::from(PIECE),
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            let answer = ask::<AuditQuery>(app, principal, Kind::FindAuditEntries, question.into(), wait).await?;
            let answer: Answer = serde_json::from_str(&answer).map_err(Error::BadAnswer)?;
            for entry in answer.entries {
                // What the person did to the account itself is found twice.
                if aggregate_id.is_none() || !trail.entries.contains(&entry) {
                    trail.entries.push(entry);
                }
            }
            cursor = answer.next_cursor;
            if cursor.is_none() {
                break;
            }
            if trail.entries.len() >= MOST {
                trail.is_cut = true;
                return Ok(trail);
            }
        }
    }
    Ok(trail)
}
