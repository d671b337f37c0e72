//! The `healthcheck` command: checks the readiness of the running process, for containers without curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Timeout of each step. Docker's own limit is 30 s, but a process that takes longer than this is not healthy.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests `/ready` from the admin port.
///
/// # Errors
/// Returns an error that names the checks that are down, or that states that the admin port is unreachable.
pub fn healthcheck(admin: SocketAddr) -> anyhow::Result<()> {
    let address = reachable(admin);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("the admin port {address} (ADMIN_LISTEN) is unreachable"))?;
    let response =
        get_ready(&mut stream, address).with_context(|| format!("the admin port {address} did not respond"))?;
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    // "HTTP/1.1 200 OK"
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some("503") => bail!("not ready: {body}"),
        _ => bail!(
            "unexpected response from {address}: {}",
            head.lines().next().unwrap_or_default()
        ),
    }
}

fn get_ready(stream: &mut TcpStream, address: SocketAddr) -> std::io::Result<String> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut response = Vec::new();
    // A readiness report is a few hundred bytes long.
    stream.take(64 * 1024).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Replaces the unspecified address, which stands for all interfaces, with the loopback address.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}
