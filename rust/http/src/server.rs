//! A server for the tests: it reads requests, and a function of the test answers them.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What one request says, with the names of headers in small letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// First and last byte that are asked for.
    pub(crate) fn range(&self) -> (usize, Option<usize>) {
        let (first, last) =
            self.header("range").unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        (first.parse().unwrap(), last.parse().ok())
    }
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: Mutex<Vec<Request>>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

impl Server {
    /// Answers until the process ends; a connection is closed when `answer` returns false.
    pub(crate) fn start(answer: impl Fn(&Request, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, answer) = (Arc::new(Seen::default()), Arc::new(answer));
        let server = Self { address, seen: Arc::clone(&seen) };
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                seen.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        server
    }

    /// Serves the ranges of `content`, well.
    pub(crate) fn of(content: Vec<u8>) -> Self {
        Self::start(move |request, stream| {
            send_part(request, &content, stream);
            true
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, seen: &Seen, answer: &dyn Fn(&Request, &mut TcpStream) -> bool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader) {
        seen.requests.lock().unwrap().push(request.clone());
        if !answer(&request, &mut stream) {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut request = Request::default();
    for number in 0.. {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end();
        match (number, line.split_once(": ")) {
            (0, _) => request.path = line.split(' ').nth(1)?.to_owned(),
            (_, Some((name, value))) => request.headers.push((name.to_ascii_lowercase(), value.to_owned())),
            _ => return Some(request),
        }
    }
    None
}

/// The part that a request asks for, or 416.
pub(crate) fn send_part(request: &Request, content: &[u8], stream: &mut TcpStream) {
    let (first, last) = request.range();
    if first >= content.len() {
        send(
            stream,
            &format!("416 no\r\nContent-Range: bytes */{}\r\nContent-Length: 0", content.len()),
            b"",
        );
        return;
    }
    let last = last.unwrap_or(usize::MAX).min(content.len() - 1);
    let body = &content[first..=last];
    let total = content.len();
    let head =
        format!("206 part\r\nContent-Range: bytes {first}-{last}/{total}\r\nContent-Length: {}", body.len());
    send(stream, &head, body);
}

/// A status with headers, and a body.
pub(crate) fn send(stream: &mut TcpStream, head: &str, body: &[u8]) {
    let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    // The client may be gone.
    let _ = stream.write_all(&bytes);
}

/// Sends nothing any more, for longer than any test waits.
pub(crate) fn hang() {
    thread::sleep(Duration::from_secs(60));
}
