//! The connections: one request each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{FEED, Request, Shared};

/// The time between two `current` events.
const HEARTBEAT: Duration = Duration::from_millis(20);

pub(super) async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut state = shared.state();
        if state.is_up {
            let served = serve(stream, address, Arc::clone(&shared));
            state.connections.push(tokio::spawn(async move {
                let _ = served.await;
            }));
        }
    }
}

/// One request per connection.
async fn serve(mut stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) -> Option<()> {
    let request = read(&mut stream).await?;
    let answer = {
        let mut state = shared.state();
        state.requests.push(request.clone());
        match state.answers.get(request.path.as_str()) {
            Some(answer) => answer.clone(),
            None => state.answer(&request, address),
        }
    };
    stream.write_all(answer.as_bytes()).await.ok()?;
    if request.path == FEED && answer.contains("200 OK") {
        feed(&mut stream, &request, &shared).await?;
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    Some(Request { path, headers: headers.collect() })
}

async fn feed(stream: &mut TcpStream, request: &Request, shared: &Shared) -> Option<()> {
    let mut changed = shared.changed.subscribe();
    let scripted = {
        let state = shared.state();
        state.feed.clone().map(|bytes| (bytes, state.is_endless))
    };
    if let Some((bytes, is_endless)) = scripted {
        stream.write_all(&bytes).await.ok()?;
        if is_endless {
            loop {
                stream.write_all(&bytes).await.ok()?;
            }
        }
        std::future::pending::<()>().await;
    }
    let (mut sent, first) = {
        let state = shared.state();
        let (from, name) =
            state.resumed(request).map_or((0, "snapshot"), |number| (number, "revoked"));
        let retry = state.retry.map(|ms| format!("retry: {ms}\n")).unwrap_or_default();
        let beat = if state.has_heartbeat { state.current() } else { String::new() };
        (state.revoked.len(), retry + &state.events(name, from) + &beat)
    };
    stream.write_all(first.as_bytes()).await.ok()?;
    loop {
        let beat = tokio::time::timeout(HEARTBEAT, changed.changed()).await;
        let news = {
            let state = shared.state();
            let mut news = String::new();
            if state.revoked.len() > sent {
                news += &state.events("revoked", sent);
                sent = state.revoked.len();
            }
            if state.has_heartbeat && beat.is_err() {
                news += &state.current();
            }
            news
        };
        stream.write_all(news.as_bytes()).await.ok()?;
    }
}
