//! `rollcall admin`: creates admins and grants roles.

use contracts::{CreateAdmin, Date, GrantRole, OpsCommand, security::Role};
use uuid::Uuid;

use crate::ops::{OpsArguments, OpsSession, require_live_service, run_command};
use crate::output::Output;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Create an account with the admin role; the user sets the password via a link sent by e-mail
    Create(Create),
    /// Grant a role to a user
    Grant(Grant),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// E-mail address of the account, which receives the link
    #[arg(long)]
    email: String,
    /// Public handle: 3 to 30 characters of a-z, 0-9 and _
    #[arg(long)]
    username: String,
    /// Full name
    #[arg(long)]
    full_name: String,
    /// Date of birth, YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = date)]
    date_of_birth: Date,
    /// IANA time zone, e.g. Europe/Berlin
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Grant {
    /// Id of the user
    user: Uuid,
    /// Role to grant
    #[arg(long, default_value = "admin")]
    role: RoleName,
    #[command(flatten)]
    ops: OpsArguments,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleName {
    Organizer,
    Auditor,
    Admin,
}

fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Outcome, Error> {
    match command {
        Command::Create(create) => create_admin(create, output).await,
        Command::Grant(Grant { user, role, ops }) => {
            let (role, name) = match role {
                RoleName::Organizer => (Role::Organizer, "an organizer"),
                RoleName::Auditor => (Role::Auditor, "an auditor"),
                RoleName::Admin => (Role::Admin, "an admin"),
            };
            let sentence = format!("user {user} is now {name}");
            let grant = GrantRole { user_id: user, role };
            run_command(&ops, grant, output, |_| sentence).await
        }
    }
}

/// Requests the account from the gateway, which sends `CreateUser` to the user service in a separate operation.
///
/// Waits for the user service's reply too, because it can reject the account, for example if the address is taken or
/// the person is too young.
async fn create_admin(create: Create, output: Output) -> Result<Outcome, Error> {
    let user_id = Uuid::now_v7();
    let ops = &create.ops;
    let sentence = format!(
        "user {user_id} is now an admin; {} will receive a link to set the password",
        create.email
    );
    let command = OpsCommand::from(CreateAdmin {
        user_id,
        email: create.email,
        username: create.username,
        full_name: create.full_name,
        date_of_birth: create.date_of_birth,
        time_zone: create.time_zone,
    });
    require_live_service(ops, command.service()).await?;
    let (mut session, mut sign_up) = (OpsSession::open(ops)?, OpsSession::open(ops)?);
    let mut reply = session.request("gateway", command).await?;
    let operation_id = reply.result["operation_id"]
        .as_str()
        .and_then(|id| Uuid::try_parse(id).ok());
    if let Some(operation_id) = operation_id {
        let decision = sign_up.reply_to_operation(operation_id, "user").await?;
        if !decision.is_accepted() {
            reply = decision;
        }
    }
    session.print(output, &reply, |_| sentence);
    Ok(reply.exit_outcome())
}
