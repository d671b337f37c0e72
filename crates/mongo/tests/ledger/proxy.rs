//! A proxy in front of the server that can inject faults and records the names of the commands. It parses only the
//! beginning of an OP_MSG: 16 bytes of header, 4 of flags, and a section of kind 0 whose document begins with the command's
//! name.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::database::server_address;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The commit arrives, but its response does not.
    LoseCommitResponse,
    /// The commit does not arrive.
    LoseCommit,
    /// Nothing is transferred, and no connection ends.
    Freeze,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    fault: watch::Sender<Fault>,
    /// Number of commits that the fault still affects.
    remaining: Mutex<usize>,
    commands: Mutex<Vec<String>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the listener is bound");
        let state = Arc::new(State {
            fault: watch::Sender::new(Fault::None),
            remaining: Mutex::new(0),
            commands: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server_address())
                    .await
                    .expect("MongoDB is reachable");
                client.set_nodelay(true).expect("a socket");
                server.set_nodelay(true).expect("a socket");
                tokio::spawn(carry(client, server, Arc::clone(&accepting)));
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn disturb(&self, fault: Fault, commits: usize) {
        *self.state.remaining.lock().unwrap_or_else(PoisonError::into_inner) = commits;
        self.state.fault.send_replace(fault);
    }

    /// Returns the commands since the last call, without those that the driver sends by itself.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = std::mem::take(&mut *self.state.commands.lock().unwrap_or_else(PoisonError::into_inner));
        commands.retain(|command| !matches!(command.as_str(), "hello" | "isMaster" | "endSessions"));
        commands
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let lose_response = AtomicBool::new(false);
    // When one direction ends, both connections are closed.
    tokio::select! {
        _ = requests(client_read, server_write, &state, &lose_response) => {}
        _ = responses(server_read, client_write, &state, &lose_response) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    lose_response: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let message = read(&mut from).await?;
        let command = name(&message);
        let fault = state.pass().await?;
        if command == "commitTransaction" && state.affects(fault) {
            match fault {
                Fault::LoseCommitResponse => lose_response.store(true, Ordering::SeqCst),
                _ => return Ok(()),
            }
        }
        state
            .commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(command);
        to.write_all(&message).await?;
    }
}

async fn responses(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    lose_response: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let message = read(&mut from).await?;
        state.pass().await?;
        if lose_response.load(Ordering::SeqCst) {
            return Ok(());
        }
        to.write_all(&message).await?;
    }
}

impl State {
    /// Returns the current fault. Fails after a freeze, so a message that was in flight never arrives.
    async fn pass(&self) -> std::io::Result<Fault> {
        let mut fault = self.fault.subscribe();
        let now = *fault.borrow_and_update();
        if now != Fault::Freeze {
            return Ok(now);
        }
        let _ = fault.changed().await;
        Err(std::io::ErrorKind::TimedOut.into())
    }

    /// Returns `true` if the fault affects this commit.
    fn affects(&self, fault: Fault) -> bool {
        let mut remaining = self.remaining.lock().unwrap_or_else(PoisonError::into_inner);
        let is_affected = fault != Fault::None && *remaining > 0;
        if is_affected {
            *remaining -= 1;
        }
        is_affected
    }
}

/// Reads one message with its header.
async fn read(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut message = vec![0; 4];
    from.read_exact(&mut message).await?;
    let length = u32::from_le_bytes(message[..4].try_into().expect("four bytes")) as usize;
    message.resize(length, 0);
    from.read_exact(&mut message[4..]).await?;
    Ok(message)
}

fn name(message: &[u8]) -> String {
    // Header, flags, kind of section, length of the document, type of the first element.
    const NAME: usize = 16 + 4 + 1 + 4 + 1;
    let name = message.get(NAME..).unwrap_or_default();
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&name[..end]).into_owned()
}
