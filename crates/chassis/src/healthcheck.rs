//! The `healthcheck` command: is the process behind this admin port ready? For containers without curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Docker's own limit is 30 s; a probe that waits longer than this has its answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks `/ready`. An error says what is down, or that nobody answers.
pub fn healthcheck(admin: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(admin);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("nobody answers on the admin port, {address}"))?;
    let answer = ask(&mut stream, address).with_context(|| format!("no answer from {address}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    // "HTTP/1.1 200 OK"
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some("503") => bail!("not ready: {body}"),
        _ => bail!(
            "an unexpected answer from {address}: {}",
            head.lines().next().unwrap_or_default()
        ),
    }
}

fn ask(stream: &mut TcpStream, address: SocketAddr) -> std::io::Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    // A report is a few hundred bytes.
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A process that listens on every interface is asked on the loopback one.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}
