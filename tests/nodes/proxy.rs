//! A network between a node and its database, with typical network faults.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The state of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Bytes arrive.
    Up,
    /// They arrive with this delay.
    Far(Duration),
    /// Connections break, and new ones are refused.
    Refused,
    /// Bytes are accepted but do not arrive, without an error.
    Frozen,
    /// Like `Frozen`, but only for connections that listen for notifications, and permanently.
    ListenersFrozen,
}

/// A proxy for a server on 127.0.0.1. It ends when this is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    upstream: SocketAddr,
}

struct State {
    network: Network,
    open: Vec<TcpStream>,
    is_over: bool,
}

impl Proxy {
    /// A network to the server on this port.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { network: Network::Up, open: Vec::new(), is_over: false };
        let upstream = SocketAddr::from(([127, 0, 0, 1], port));
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), upstream });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || own.accept(&listener));
        Self { address, shared }
    }

    /// The URL of a server through this proxy.
    pub fn url(&self, direct: &str) -> String {
        let (before, rest) = direct.split_once("127.0.0.1:").unwrap();
        let (_, after) = rest.split_once('/').unwrap();
        format!("{before}{}/{after}", self.address)
    }

    pub fn set(&self, network: Network) {
        let mut state = self.shared.state.lock().unwrap();
        state.network = network;
        if network == Network::Refused {
            state.cut();
        }
        self.shared.changed.notify_all();
    }

    /// Breaks every connection; new ones work.
    pub fn cut(&self) {
        self.shared.state.lock().unwrap().cut();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        state.is_over = true;
        state.cut();
        drop(state);
        self.shared.changed.notify_all();
        // Wakes up the accepting thread.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn cut(&mut self) {
        for connection in self.open.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().map_while(Result::ok) {
            let mut state = self.state.lock().unwrap();
            if state.is_over {
                return;
            }
            if state.network == Network::Refused {
                continue;
            }
            let Ok(server) = TcpStream::connect(self.upstream) else { continue };
            state.open.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
            drop(state);
            let (own, from, to) =
                (Arc::clone(self), client.try_clone().unwrap(), server.try_clone().unwrap());
            let listens = Arc::new(Mutex::new(false));
            let same = Arc::clone(&listens);
            std::thread::spawn(move || own.forward(from, to, &listens));
            let own = Arc::clone(self);
            std::thread::spawn(move || own.forward(server, client, &same));
        }
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream, listens: &Mutex<bool>) {
        let mut buffer = [0; 16 * 1024];
        let mut is_frozen = false;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let data = &buffer[..count];
            if data.windows(7).any(|window| window == b"LISTEN ") {
                *listens.lock().unwrap() = true;
            }
            let state = self.state.lock().unwrap();
            let held = |state: &mut State| {
                is_frozen |= state.network == Network::ListenersFrozen && *listens.lock().unwrap();
                !state.is_over && (is_frozen || state.network == Network::Frozen)
            };
            let network = self.changed.wait_while(state, held).unwrap().network;
            if let Network::Far(way) = network {
                std::thread::sleep(way);
            }
            if to.write_all(data).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
