//! An HTTP client with little overhead: one persistent connection, one request at a time, responses
//! with a `Content-Length`. It blocks: each client is a thread.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

pub struct Client {
    stream: TcpStream,
    request: String,
    answer: Vec<u8>,
}

/// The last response, valid until the next.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    pub status: u16,
    body: &'a str,
}

impl<'a> Answer<'a> {
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// A member of the JSON whose value is a text without escapes, such as a token or an id.
    pub fn text(self, member: &str) -> &'a str {
        let start = format!("\"{member}\":\"");
        let rest = self.body.split_once(&start).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("{}", self.body))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap()
    }

    fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: String::new(), answer: Vec::new() })
    }

    /// Whether a server listens there and answers this path with 200.
    pub fn finds(address: SocketAddr, path: &str) -> bool {
        let look = || {
            let mut client = Self::try_connect(address)?;
            let _ = write!(client.request, "GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
            client.try_exchange().map(|answer| answer.status == 200)
        };
        look().unwrap_or(false)
    }

    /// A `GET` with an access token.
    pub fn get(&mut self, path: &str, access: &str) -> Answer<'_> {
        self.request.clear();
        let _ = write!(
            self.request,
            "GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {access}\r\n\r\n"
        );
        self.exchange()
    }

    /// A `POST` of a JSON object with these members, all of them texts without escapes.
    pub fn post(&mut self, path: &str, members: &[(&str, &str)]) -> Answer<'_> {
        let members = members.iter().map(|(name, value)| format!("\"{name}\":\"{value}\""));
        let body = members.collect::<Vec<_>>().join(",");
        self.request.clear();
        let _ = write!(
            self.request,
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{{{body}}}",
            body.len() + 2
        );
        self.exchange()
    }

    fn exchange(&mut self) -> Answer<'_> {
        self.try_exchange().unwrap()
    }

    fn try_exchange(&mut self) -> io::Result<Answer<'_>> {
        self.stream.write_all(self.request.as_bytes())?;
        self.answer.clear();
        let head = loop {
            self.receive()?;
            let end = self.answer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
        };
        let text = str::from_utf8(&self.answer[..head]).unwrap();
        let status = text[9..12].parse().unwrap();
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let end = head + length.unwrap_or(0);
        while self.answer.len() < end {
            self.receive()?;
        }
        Ok(Answer { status, body: str::from_utf8(&self.answer[head..end]).unwrap() })
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; 4096];
        let read = self.stream.read(&mut piece)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.answer.extend_from_slice(&piece[..read]);
        Ok(())
    }
}
