//! Everybody, for an admin.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::extract::{Asked, Paging};
use crate::api::form::Form;
use crate::api::principal::Admin;
use crate::app::App;
use crate::error::Error;
use crate::roles::Role;
use crate::store::page::{List, Page};
use crate::store::users::{self, Filter, User, UserStatus};

const LONGEST: usize = 254;

/// Whom to look for; what is left out does not narrow the search.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct Question {
    /// How the e-mail, the username or the full name begins.
    #[param(example = "ada", max_length = 254, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    q: Option<String>,
    role: Option<Role>,
    status: Option<UserStatus>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// Items on a page, from 1 to 200; else 50.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u16>,
}

/// Everybody who has an account, the newest first.
#[utoipa::path(
    get, path = "/v1/users", tag = "users", operation_id = "listUsers",
    params(Question),
    security(("bearer" = [])),
    responses((status = OK, body = Page<User>)),
)]
pub(in crate::api) async fn list(
    State(app): State<App>,
    _: Admin,
    Asked(question): Asked<Question>,
) -> Result<Json<Page<User>>, Error> {
    let mut form = Form::default();
    if let Some(begins) = &question.q {
        form.line("q", begins, LONGEST);
    }
    form.finish()?;
    let paging = Paging {
        cursor: question.cursor,
        limit: question.limit,
    };
    let filter = Filter {
        begins: question.q,
        role: question.role,
        status: question.status,
    };
    let cut = paging.cut_of(List::new("users", &filter))?;
    Ok(Json(users::list(app.pool(), &filter, cut).await?))
}
