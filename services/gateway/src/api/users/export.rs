//! Export of all personal data of a user, as one document.

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
use crate::api::query::query;
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

/// Maximum number of items in one list. The number is larger than any user reaches in practice.
const MAX_ITEMS: usize = 10_000;
/// Number of items that are read together.
const PAGE_SIZE: u16 = 200;
/// Maximum time to read all pages of the audit service.
const AUDIT_WAIT: Duration = Duration::from_secs(20);

/// All data of a user.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Export {
    exported_at: DateTime<Utc>,
    /// The profile and the roles.
    user: User,
    sessions: Vec<Family>,
    /// Events that the user organizes.
    events: Vec<Event>,
    registrations: Vec<Registration>,
    notifications: Vec<Notification>,
    operations: Vec<OperationView>,
    /// Audit entries of actions by the user and of changes to the account.
    #[schema(value_type = Vec<Object>)]
    audit: Vec<Value>,
    /// `true` if the audit log contains more entries than this export.
    audit_is_cut: bool,
}

/// Export all data of a user, as JSON.
///
/// Users export their own data, and admins the data of any user.
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
    let trail = audit_trail(&app, &member, id).await?;
    let operations = read_all(|page_request| operations::of_user(pool, id, page_request)).await?;
    let any = notifications::Filter {
        event: None,
        kind: None,
    };
    let export = Export {
        exported_at: Utc::now(),
        user,
        sessions: sessions::of_user(pool, id).await?,
        events: read_all(|page_request| events::of_organizer(pool, id, page_request)).await?,
        registrations: read_all(|page_request| registrations::of_user(pool, id, page_request)).await?,
        notifications: read_all(|page_request| notifications::of_user(pool, id, any, page_request)).await?,
        operations: operations.into_iter().map(OperationView::from).collect(),
        audit: trail.entries,
        audit_is_cut: trail.is_cut,
    };
    let file = HeaderValue::from_static("attachment; filename=\"rollcall.json\"");
    Ok(([(header::CONTENT_DISPOSITION, file)], Json(export)))
}

/// Returns the items of all pages of a list, at most [`MAX_ITEMS`] and the rest of the last page.
async fn read_all<P: PageCursor + Copy, T, F>(mut read: impl FnMut(PageRequest<P>) -> F) -> sqlx::Result<Vec<T>>
where
    F: Future<Output = sqlx::Result<Page<T>>>,
{
    let list = List::default();
    let mut page_request = PageRequest {
        after: None,
        limit: PAGE_SIZE,
        list,
    };
    let mut items = Vec::new();
    loop {
        let page = read(page_request).await?;
        items.extend(page.items);
        let next = page.next.and_then(|next| page::decode(&next, list));
        if next.is_none() || items.len() >= MAX_ITEMS {
            return Ok(items);
        }
        page_request.after = next;
    }
}

#[derive(Default)]
struct Trail {
    entries: Vec<Value>,
    is_cut: bool,
}

#[derive(Deserialize)]
struct AuditPage {
    entries: Vec<Value>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// Queries the audit service, page by page, for the actions of the user and the changes to the account.
async fn audit_trail(app: &App, principal: &Principal, id: Uuid) -> Result<Trail, Error> {
    let deadline = Instant::now() + AUDIT_WAIT;
    let mut trail = Trail::default();
    let actors = [Actor::User(id), Actor::Admin(id)].map(|actor| (Some(actor.to_string()), None));
    for (actor, aggregate_id) in actors.into_iter().chain([(None, Some(id))]) {
        let mut cursor = None;
        loop {
            let find = FindAuditEntries {
                aggregate_id,
                correlation_id: None,
                actor: actor.clone(),
                message_type: None,
                from: None,
                until: None,
                cursor,
                limit: i32::from(PAGE_SIZE),
            };
            let wait = deadline.saturating_duration_since(Instant::now());
            let page: AuditPage = query::<AuditQuery, _>(app, principal, Kind::FindAuditEntries, find, wait).await?;
            for entry in page.entries {
                // Changes that the user made to the account are found twice: by actor and by aggregate.
                if aggregate_id.is_none() || !trail.entries.contains(&entry) {
                    trail.entries.push(entry);
                }
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
            if trail.entries.len() >= MAX_ITEMS {
                trail.is_cut = true;
                return Ok(trail);
            }
        }
    }
    Ok(trail)
}
