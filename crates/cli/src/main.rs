//! The `rollcall` command. What it does is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use cli::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for with an "error" too. Nothing can be done if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(cli::USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    cli::exit_code(&cli::run(arguments).await)
}
