//! `rollcall admin`: who may operate the installation.

use contracts::{CreateAdmin, Date, GrantRole, OpsCommand, security::Role};
use uuid::Uuid;

use crate::operation::{Asking, Operation, somebody_listens, tell};
use crate::output::Output;
use crate::{Error, Outcome};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Open an account with the role of an admin; its password is set by a mailed link
    Create(Create),
    /// Give a user a role
    Grant(Grant),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Where the link is mailed to
    #[arg(long)]
    email: String,
    /// Public handle: 3 to 30 of a-z, 0-9 and _
    #[arg(long)]
    username: String,
    /// Name as the person writes it
    #[arg(long)]
    full_name: String,
    /// YYYY-MM-DD
    #[arg(long, value_name = "DATE", value_parser = date)]
    date_of_birth: Date,
    /// IANA name, e.g. Europe/Berlin
    #[arg(long, default_value = "UTC")]
    time_zone: String,
    #[command(flatten)]
    asking: Asking,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Grant {
    /// The user's id
    user: Uuid,
    /// What the user may do from then on
    #[arg(long, default_value = "admin")]
    role: RoleName,
    #[command(flatten)]
    asking: Asking,
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
        Command::Create(create) => open_account(create, output).await,
        Command::Grant(Grant { user, role, asking }) => {
            let (role, name) = match role {
                RoleName::Organizer => (Role::Organizer, "an organizer"),
                RoleName::Auditor => (Role::Auditor, "an auditor"),
                RoleName::Admin => (Role::Admin, "an admin"),
            };
            let sentence = format!("{user} is {name}");
            let grant = GrantRole { user_id: user, role };
            tell(&asking, grant, output, |_| sentence).await
        }
    }
}

/// The gateway has it signed up, and the user service has the last word: is the address free, is the person old enough?
async fn open_account(create: Create, output: Output) -> Result<Outcome, Error> {
    let user_id = Uuid::now_v7();
    let asking = &create.asking;
    let sentence = format!(
        "{user_id} is an admin; a mail with a link to set the password is on its way to {}",
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
    somebody_listens(asking, command.service()).await?;
    let (mut operation, mut sign_up) = (Operation::begin(asking)?, Operation::begin(asking)?);
    let mut answer = operation.ask("gateway", command).await?;
    let signed_up_by = answer.result["operation_id"]
        .as_str()
        .and_then(|id| Uuid::try_parse(id).ok());
    if let Some(id) = signed_up_by {
        let last_word = sign_up.answer_to(id, "user").await?;
        if !last_word.is_accepted() {
            answer = last_word;
        }
    }
    operation.show(output, &answer, |_| sentence);
    Ok(answer.said_yes())
}
