//! A way to the server that can be disturbed, and that knows the wire protocol well enough to name the
//! commands it carries (OP_MSG: 16 bytes of header, 4 of flags, a section of kind 0 whose document begins
//! with the command's name).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::database::server_address;

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The commit arrives, its answer does not.
    LoseCommitAnswer,
    /// The commit does not arrive.
    LoseCommit,
    /// Nothing moves any more, and no connection ends.
    Freeze,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    fault: watch::Sender<Fault>,
    /// How many commits a fault still strikes.
    strikes: Mutex<usize>,
    commands: Mutex<Vec<String>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State {
            fault: watch::Sender::new(Fault::None),
            strikes: Mutex::new(0),
            commands: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server_address()).await.expect("MongoDB answers");
                client.set_nodelay(true).expect("a socket");
                server.set_nodelay(true).expect("a socket");
                tokio::spawn(carry(client, server, Arc::clone(&accepting)));
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn disturb(&self, fault: Fault, strikes: usize) {
        *self.state.strikes.lock().expect("not poisoned") = strikes;
        self.state.fault.send_replace(fault);
    }

    /// The commands since the last look, without those of the driver's own.
    pub(crate) fn commands(&self) -> Vec<String> {
        let mut commands = std::mem::take(&mut *self.state.commands.lock().expect("not poisoned"));
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
    let lose_answer = AtomicBool::new(false);
    // Whichever ends, both connections are closed.
    tokio::select! {
        _ = requests(client_read, server_write, &state, &lose_answer) => {}
        _ = answers(server_read, client_write, &state, &lose_answer) => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    lose_answer: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let message = read(&mut from).await?;
        let command = name(&message);
        let fault = state.pass().await?;
        if command == "commitTransaction" && state.strikes(fault) {
            match fault {
                Fault::LoseCommitAnswer => lose_answer.store(true, Ordering::SeqCst),
                _ => return Ok(()),
            }
        }
        state.commands.lock().expect("not poisoned").push(command);
        to.write_all(&message).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: &State,
    lose_answer: &AtomicBool,
) -> std::io::Result<()> {
    loop {
        let message = read(&mut from).await?;
        state.pass().await?;
        if lose_answer.load(Ordering::SeqCst) {
            return Ok(());
        }
        to.write_all(&message).await?;
    }
}

impl State {
    /// What was on its way when everything froze never arrives.
    async fn pass(&self) -> std::io::Result<Fault> {
        let mut fault = self.fault.subscribe();
        let now = *fault.borrow_and_update();
        if now != Fault::Freeze {
            return Ok(now);
        }
        let _ = fault.changed().await;
        Err(std::io::ErrorKind::TimedOut.into())
    }

    fn strikes(&self, fault: Fault) -> bool {
        let mut strikes = self.strikes.lock().expect("not poisoned");
        let struck = fault != Fault::None && *strikes > 0;
        if struck {
            *strikes -= 1;
        }
        struck
    }
}

/// One message, header included.
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
