//! Entry point of the `rollcall` command. The library implements it.

use std::process::ExitCode;

use clap::Parser as _;
use cli::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap reports --help and --version as errors too. A failure to print cannot be reported anywhere.
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
