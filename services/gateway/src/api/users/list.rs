//! The list of all users, for admins.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::extract::{Paging, QueryParams};
use crate::api::form::Form;
use crate::api::principal::Admin;
use crate::app::App;
use crate::error::Error;
use crate::roles::Role;
use crate::store::page::{List, Page};
use crate::store::users::{self, Filter, User, UserStatus};

/// Maximum length of the search text, in characters.
const MAX_PREFIX_CHARS: usize = 254;

/// Filters of the list. An omitted filter does not narrow the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct UserSearch {
    /// Beginning of the e-mail address, the username or the full name.
    #[param(example = "ada", max_length = 254, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    q: Option<String>,
    role: Option<Role>,
    status: Option<UserStatus>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Maximum number of items on the page, from 1 to 200. The default is 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// List all users, newest first.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", operation_id = "listUsers",
    params(UserSearch),
    security(("bearer" = [])),
    responses((status = OK, body = Page<User>)),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    _: Admin,
    QueryParams(search): QueryParams<UserSearch>,
) -> Result<Json<Page<User>>, Error> {
    let mut form = Form::default();
    if let Some(prefix) = &search.q {
        form.line("q", prefix, MAX_PREFIX_CHARS);
    }
    form.finish()?;
    let paging = Paging {
        cursor: search.cursor,
        limit: search.limit,
    };
    let filter = Filter {
        begins: search.q,
        role: search.role,
        status: search.status,
    };
    let page_request = paging.page_request_for(List::new("users", &filter))?;
    Ok(Json(users::list(app.pool(), &filter, page_request).await?))
}
