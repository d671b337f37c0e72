//! The baseline of P8 and P9: a bare axum handler that returns fixed bytes, in a process of its own, as the gateway is.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::{StatusCode, header};
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The first argument of the process that serves a file.
pub(crate) const ARGUMENT: &str = "serve-bare";

/// A running bare server. It ends when this value is dropped.
pub(crate) struct Bare {
    pub(crate) address: String,
    _process: Child,
}

impl Bare {
    /// Starts a server that answers every request with this status and body.
    pub(crate) async fn start(status: u16, body: &[u8]) -> Result<Self> {
        let file = std::env::temp_dir().join(format!("rollcall-bare-{}-{status}", std::process::id()));
        std::fs::write(&file, body)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .arg(status.to_string())
            .arg(&file)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("the bare server has no output")?;
        let address = BufReader::new(output).lines().next_line().await?;
        std::fs::remove_file(&file)?;
        Ok(Self {
            address: address.context("the bare server did not start")?,
            _process: process,
        })
    }
}

/// Prints the address, and serves until the process is killed.
pub(crate) async fn serve(status: &str, file: &Path) -> Result<()> {
    let status: StatusCode = status.parse().context("not a status")?;
    let body = Bytes::from(std::fs::read(file)?);
    let router = Router::new().fallback(async move |request: axum::extract::Request| {
        // A handler for writes reads the body, as the gateway does.
        let _ = axum::body::to_bytes(request.into_body(), 65_536).await;
        (status, [(header::CONTENT_TYPE, "application/json")], body)
    });
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
