//! Against servers that answer well, badly, and not at all.

use std::error::Error as StdError;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::{Request, Server, hang, send, send_part};
use crate::{Body, Counter, Error, Kind, Result, Roots, Settings, Source};

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn impatient() -> Settings {
    Settings { stall: Duration::from_millis(300), ..Settings::default() }
}

fn source(url: &str) -> Source {
    let headers = [("X-Key", "a-secret-header"), ("Range", "bytes=7-7")];
    Source::new(url, headers, Arc::new(impatient()), Arc::new(Counter::new())).unwrap()
}

fn all(body: Result<Body>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match body?.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Error::from_io(error).unwrap()),
    }
}

fn read(server: &Server, offset: u64, size: Option<u64>) -> Result<Vec<u8>> {
    all(source(&server.url("/object?signature=a-secret")).read(offset, size))
}

/// The error of a server that answers with `head` and `body`.
fn error_of(head: &'static str, body: &'static [u8]) -> Error {
    let server = Server::start(move |_, stream| {
        send(stream, head, body);
        false
    });
    let error = read(&server, 10, Some(5)).unwrap_err();
    let mut texts = format!("{error} {error:?}");
    let mut next: Option<&dyn StdError> = error.source();
    while let Some(source) = next {
        texts += &format!(" {source} {source:?}");
        next = source.source();
    }
    assert!(texts.contains("127.0.0.1") && !texts.contains("secret"), "{texts}");
    error
}

#[test]
fn every_range_is_what_it_should_be() {
    let content = content();
    let server = Server::of(content.clone());
    let size = content.len() as u64;
    for (offset, len) in [(0, 1), (0, size), (1, 4096), (size - 1, 1), (size - 5, 100), (77, size)] {
        let expected = &content[offset as usize..content.len().min((offset + len) as usize)];
        assert_eq!(read(&server, offset, Some(len)).unwrap(), expected, "{offset} {len}");
    }
    assert_eq!(read(&server, 50, None).unwrap(), &content[50..]);
    assert_eq!(read(&server, size, Some(9)).unwrap(), b"");
    assert_eq!(read(&server, size + 9, None).unwrap(), b"");
    let asked = server.requests().len();
    assert_eq!(read(&server, 5, Some(0)).unwrap(), b"");
    assert_eq!(server.requests().len(), asked);
    assert!(server.requests().iter().all(|request| request.header("accept-encoding") == Some("identity")));
    assert!(server.requests().iter().all(|request| request.header("x-key") == Some("a-secret-header")));
}

#[test]
fn the_size_of_the_object_is_told() {
    let of = |head: &'static str| {
        let server = Server::start(move |_, stream| {
            send(stream, head, b"12345");
            false
        });
        source(&server.url("/object")).read(0, Some(5)).map(|body| body.total())
    };
    assert_eq!(of("206 part\r\nContent-Range: bytes 0-4/77\r\nContent-Length: 5").unwrap(), Some(77));
    assert_eq!(of("206 part\r\nContent-Range: bytes 0-4/*\r\nContent-Length: 5").unwrap(), None);
    assert_eq!(of("200 all\r\nContent-Length: 99").unwrap(), Some(99));
    assert_eq!(of("200 all\r\nTransfer-Encoding: chunked").unwrap(), None);
}

#[test]
fn threads_share_connections_that_are_used_again_and_counted() {
    let content = content();
    let server = Server::of(content.clone());
    let counter = Arc::new(Counter::new());
    let source =
        Source::new(&server.url("/"), [], Arc::new(Settings::default()), Arc::clone(&counter)).unwrap();
    thread::scope(|scope| {
        for number in 0..8 {
            let (source, content) = (source.clone(), &content);
            scope.spawn(move || {
                for turn in 0..50 {
                    let at = number * 1000 + turn * 13;
                    let mut bytes = [0; 100];
                    // As callers do: what is asked for and no more.
                    source.read(at as u64, Some(100)).unwrap().read_exact(&mut bytes).unwrap();
                    assert_eq!(bytes, content[at..at + 100]);
                }
            });
        }
    });
    assert!(server.connections() <= 8, "{}", server.connections());
    assert_eq!((counter.requests(), counter.bytes()), (400, 40_000));
}

#[test]
fn statuses_have_a_meaning() {
    for (head, kind) in [
        ("404 no\r\nContent-Length: 0", Kind::NotFound),
        ("410 gone\r\nContent-Length: 0", Kind::NotFound),
        ("400 token\r\nContent-Length: 0", Kind::Refused),
        ("401 who\r\nContent-Length: 0", Kind::Refused),
        ("403 no\r\nContent-Length: 0", Kind::Refused),
        ("408 late\r\nContent-Length: 0", Kind::Transient),
        ("429 slow\r\nContent-Length: 0", Kind::Transient),
        ("500 oh\r\nContent-Length: 0", Kind::Transient),
        ("502 oh\r\nContent-Length: 0", Kind::Transient),
        ("503 oh\r\nContent-Length: 0", Kind::Transient),
        ("504 oh\r\nContent-Length: 0", Kind::Transient),
        ("204 nothing", Kind::Final),
        ("405 no\r\nContent-Length: 0", Kind::Final),
        ("501 no\r\nContent-Length: 0", Kind::Final),
        ("304 same", Kind::Final),
    ] {
        assert_eq!(error_of(head, b"").kind(), kind, "{head}");
    }
    let busy = error_of("503 oh\r\nRetry-After: 7\r\nContent-Length: 0", b"");
    assert_eq!(busy.retry_after(), Some(Duration::from_secs(7)));
}

#[test]
fn bytes_of_another_range_are_never_taken() {
    for head in [
        "206 part\r\nContent-Length: 5",
        "206 part\r\nContent-Range: bytes 9-13/100\r\nContent-Length: 5",
        "206 part\r\nContent-Range: bytes 10-15/100\r\nContent-Length: 5",
        "206 part\r\nContent-Range: bytes 10-13/100\r\nContent-Length: 4",
        "206 part\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 4",
        "206 part\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 6",
        "206 part\r\nContent-Range: bytes 10-14/14\r\nContent-Length: 5",
        "416 no\r\nContent-Range: bytes */11\r\nContent-Length: 0",
    ] {
        let error = error_of(head, b"abcdef");
        assert!(
            matches!(error, Error::WrongRange { .. }) && error.kind() == Kind::Transient,
            "{head} {error}"
        );
    }
    let part = "206 part\r\nContent-Range: bytes 10-14/100\r\n";
    let encoded: &str =
        Box::leak(format!("{part}Content-Encoding: gzip\r\nContent-Length: 5").into_boxed_str());
    assert!(matches!(error_of(encoded, b"abcde"), Error::Encoded { .. }));
}

#[test]
fn a_server_that_ignores_ranges_is_used_at_the_beginning_alone() {
    let server = Server::start(|_, stream| {
        send(stream, "200 all\r\nContent-Length: 10", b"0123456789");
        true
    });
    assert_eq!(read(&server, 0, Some(4)).unwrap(), b"0123");
    assert_eq!(read(&server, 0, None).unwrap(), b"0123456789");
    assert_eq!(read(&server, 0, Some(40)).unwrap(), b"0123456789");
    let error = read(&server, 1, Some(4)).unwrap_err();
    assert!(matches!(error, Error::RangesIgnored { .. }) && error.kind() == Kind::Final);
    // Without a length, its end could be anywhere.
    let server = Server::start(|_, stream| {
        send(stream, "200 all", b"0123");
        false
    });
    assert_eq!(read(&server, 0, None).unwrap_err().kind(), Kind::Transient);
}

#[test]
fn chunks_are_put_together() {
    let server = Server::start(|request, stream| {
        let body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let head = match request.range().0 {
            10 => "206 part\r\nContent-Range: bytes 10-14/100\r\nTransfer-Encoding: chunked",
            _ => "200 all\r\nTransfer-Encoding: chunked",
        };
        send(stream, head, body);
        true
    });
    for _ in 0..3 {
        assert_eq!(read(&server, 10, Some(5)).unwrap(), b"abcde");
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(read(&server, 0, None).unwrap(), b"abcde");
    assert_eq!(read(&server, 0, Some(2)).unwrap(), b"ab");
}

#[test]
fn a_body_that_is_cut_off_is_an_error_and_what_came_is_kept() {
    for is_chunked in [false, true] {
        let server = Server::start(move |_, stream| {
            let framing = if is_chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 5" };
            let body: &[u8] = if is_chunked { b"2\r\nab\r\n" } else { b"ab" };
            send(stream, &format!("206 part\r\nContent-Range: bytes 10-14/100\r\n{framing}"), body);
            false
        });
        let mut body = source(&server.url("/")).read(10, Some(5)).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..2 {
            let error = Error::from_io(body.read_to_end(&mut bytes).unwrap_err()).unwrap();
            assert_eq!(error.kind(), Kind::Transient, "{error:?}");
            assert_eq!(bytes, b"ab");
        }
    }
}

#[test]
fn silence_and_trickles_end() {
    type Serve = fn(&Request, &mut TcpStream) -> bool;
    let head = "206 part\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 5";
    let silent: [Serve; 2] = [
        |_, _| {
            hang();
            false
        },
        |_, stream| {
            send(stream, "206 part\r\nContent-Range: bytes 10-14/100\r\nContent-Length: 5", b"ab");
            hang();
            false
        },
    ];
    for serve in silent {
        let begun = Instant::now();
        assert_eq!(read(&Server::start(serve), 10, Some(5)).unwrap_err().kind(), Kind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let server = Server::start(move |_, stream| {
        send(stream, head, b"");
        (0..5).all(|_| {
            thread::sleep(Duration::from_millis(250));
            stream.write_all(b"x").is_ok()
        })
    });
    assert_eq!(read(&server, 10, Some(5)).unwrap_err().kind(), Kind::TimedOut);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_replaced() {
    let content = content();
    let served = AtomicUsize::new(0);
    let server = Server::start(move |request, stream| {
        // Every second request of a connection is never answered.
        if served.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            return false;
        }
        send_part(request, &content, stream);
        true
    });
    for _ in 0..4 {
        assert_eq!(read(&server, 0, Some(4)).unwrap(), [0; 4]);
    }
}

#[test]
fn names_are_looked_up_and_a_server_that_is_not_there_is_transient() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = all(source(&format!("http://{closed}/?a-secret")).read(0, None)).unwrap_err();
    assert!(matches!(error, Error::Connection { .. }) && error.kind() == Kind::Transient, "{error:?}");
    let server = Server::of(content());
    let url = format!("http://localhost:{}/", server.address.port());
    assert_eq!(all(source(&url).read(4, Some(4))).unwrap(), [1, 0, 0, 0]);
    let error = all(source("http://does-not-exist.invalid/").read(0, None)).unwrap_err();
    assert_eq!(error.kind(), Kind::Transient, "{error:?}");
}

#[test]
fn redirects_take_no_headers_elsewhere_and_come_to_an_end() {
    let other = Server::of(content());
    let elsewhere = other.url("/there?a-secret");
    let server = Server::start(move |request, stream| {
        let to = match request.path.as_str() {
            "/path" => "/here",
            "/away" => &elsewhere,
            "/loop" => "/loop",
            "/scheme" => "file:///etc/passwd",
            _ => {
                send_part(request, &content(), stream);
                return true;
            }
        };
        send(stream, &format!("307 go\r\nLocation: {to}\r\nContent-Length: 0"), b"");
        true
    });
    let from = |path: &str| all(source(&server.url(path)).read(4, Some(4)));
    assert_eq!(from("/path").unwrap(), [1, 0, 0, 0]);
    assert!(server.requests().iter().all(|request| request.header("x-key").is_some()));
    assert_eq!(from("/away").unwrap(), [1, 0, 0, 0]);
    let seen = other.requests();
    assert_eq!((seen[0].header("x-key"), seen[0].header("range")), (None, Some("bytes=4-7")));
    for path in ["/loop", "/scheme"] {
        let error = from(path).unwrap_err();
        assert!(matches!(error, Error::Redirected { .. }) && error.kind() == Kind::Final, "{error:?}");
    }
}

#[test]
fn a_proxy_is_asked_for_a_tunnel() {
    let server = Server::of(content());
    let target = server.address;
    let refuses = Arc::new(AtomicUsize::new(0));
    let proxy = {
        let refuses = Arc::clone(&refuses);
        Server::start(move |_, stream| {
            let refusal = refuses.load(Ordering::SeqCst);
            if refusal != 0 {
                send(stream, &format!("{refusal} no\r\nContent-Length: 0"), b"");
                return false;
            }
            let mut there = TcpStream::connect(target).unwrap();
            send(stream, "200 tunnel", b"");
            let (mut back, mut from) = (stream.try_clone().unwrap(), there.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut back));
            // The buffer before it is empty: the client waits for the tunnel.
            let _ = std::io::copy(&mut *stream, &mut there);
            false
        })
    };
    let url = format!("http://name:a-secret@{}", proxy.address);
    let settings = Arc::new(Settings { proxy: Some(url), ..impatient() });
    assert!(!format!("{settings:?}").contains("secret"));
    let read = |settings: &Arc<Settings>| {
        let source = Source::new("http://far.invalid/x", [], Arc::clone(settings), Arc::default()).unwrap();
        all(source.read(4, Some(4)))
    };
    assert_eq!(read(&settings).unwrap(), [1, 0, 0, 0]);
    assert!(proxy.requests()[0].header("proxy-authorization").is_some());
    // Another password, so that no connection is left from before.
    let url = format!("http://name:another-secret@{}", proxy.address);
    let settings = Arc::new(Settings { proxy: Some(url), ..impatient() });
    for (status, kind) in [(407, Kind::Final), (502, Kind::Transient)] {
        refuses.store(status, Ordering::SeqCst);
        let error = read(&settings).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
    let socks = Arc::new(Settings { proxy: Some("socks5://127.0.0.1:1".to_owned()), ..impatient() });
    assert!(matches!(read(&socks).unwrap_err(), Error::Setting { .. }));
}

#[test]
fn what_cannot_be_used_is_said_so() {
    let make = |url: &str, header: (&str, &str)| {
        Source::new(url, [header], Arc::new(Settings::default()), Arc::default())
    };
    for url in ["", "a-secret", "ftp://host/a-secret", "http://", "http:///a-secret", "http://ho st/a-secret"]
    {
        let error = make(url, ("a", "b")).unwrap_err();
        assert!(matches!(error, Error::Setting { what: "URL", .. }));
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
    assert!(matches!(make("http://a/", ("a b", "c")), Err(Error::Setting { what: "headers", .. })));
    assert!(matches!(make("http://a/", ("a", "a-secret\r\nx: y")), Err(Error::Setting { .. })));
    let source = make("https://user:a-secret@host:8/a-secret?a-secret", ("a", "a-secret")).unwrap();
    assert_eq!(format!("{source:?}"), "Source(\"host:8\", ..)");
    let roots = Roots::File("/does/not/exist.pem".into());
    let settings = Arc::new(Settings { roots, ..Settings::default() });
    let error = Source::new("https://127.0.0.1:1/", [], settings, Arc::default()).unwrap().read(0, None);
    assert!(matches!(error, Err(Error::Setting { source: Some(_), .. })));
}
