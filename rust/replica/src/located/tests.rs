use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use http_ranges::{Counter, Settings, Source};
use ltx::{Timestamp, TxId};

use super::{Direct, Locate, Spot};
use crate::client::FileInfo;
use crate::error::{Error, Result};
use crate::object_store::Span;
use crate::place::{FileKey, Place};

const INFO: FileInfo = FileInfo {
    level: 0,
    min_txid: TxId::new(1),
    max_txid: TxId::new(1),
    size: 10,
    created_at: Timestamp::from_millis(0),
};

/// A client that reads `client`, and answers what a test wants when it is asked where a file is.
struct Client {
    asked: AtomicUsize,
    gave_up: AtomicUsize,
    answer: Box<dyn Fn(usize) -> Result<Spot> + Send + Sync>,
}

impl Locate for Client {
    fn client_type(&self) -> &'static str {
        "test"
    }

    fn locate(&self, _: FileKey) -> Result<Spot> {
        (self.answer)(self.asked.fetch_add(1, Ordering::SeqCst))
    }

    fn open(&self, _: &FileInfo, _: Span) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(&b"client"[..]))
    }

    fn gave_up(&self, _: FileKey, _: &http_ranges::Error) {
        self.gave_up.fetch_add(1, Ordering::SeqCst);
    }
}

fn direct(answer: impl Fn(usize) -> Result<Spot> + Send + Sync + 'static) -> Arc<Direct<Client>> {
    let (asked, gave_up) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Arc::new(Direct::new(Client { asked, gave_up, answer: Box::new(answer) }))
}

impl Direct<Client> {
    fn text(self: &Arc<Self>) -> Result<String> {
        let span = Span { offset: 0, size: Some(10) };
        let Some(mut reader) = self.open(&INFO, span)? else { return Ok("client".to_owned()) };
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(|error| Error::from_io(Place::default(), error))?;
        Ok(text)
    }

    fn asked(&self) -> usize {
        self.client().asked.load(Ordering::SeqCst)
    }
}

/// A server that gives each connection the next of some answers; the path says which object it is.
fn server(answers: Vec<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a-secret", listener.local_addr().unwrap());
    thread::spawn(move || {
        for answer in answers {
            let mut stream = listener.accept().unwrap().0;
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = write!(stream, "HTTP/1.1 {answer}");
        }
    });
    url
}

fn url(url: &str, life: Duration) -> Spot {
    let settings = Arc::new(Settings { stall: Duration::from_millis(500), ..Settings::default() });
    Spot::Url(Arc::new(Source::new(url, [], settings, Arc::new(Counter::new())).unwrap()), life)
}

const HOUR: Duration = Duration::from_secs(3600);
const REFUSED: &str = "403 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const WHOLE: &str =
    "206 part\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789";
const CUT: &str =
    "206 part\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123";
const REST: &str =
    "206 part\r\nContent-Range: bytes 4-9/10\r\nContent-Length: 6\r\nConnection: close\r\n\r\n456789";

#[test]
fn a_client_that_knows_nothing_is_asked_once() {
    let direct = direct(|_| Ok(Spot::Client));
    for _ in 0..3 {
        assert_eq!(direct.text().unwrap(), "client");
    }
    assert_eq!(direct.asked(), 1);
}

#[test]
fn threads_ask_once_for_a_file() {
    let path = tempfile::NamedTempFile::new().unwrap();
    fs::write(path.path(), "here").unwrap();
    let spot = Spot::Path(path.path().to_owned());
    let direct = direct(move |_| {
        thread::sleep(Duration::from_millis(50));
        Ok(spot.clone())
    });
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(direct.text().unwrap(), "here"));
        }
    });
    assert_eq!(direct.asked(), 1);
}

#[test]
fn a_client_that_fails_is_asked_again() {
    let direct = direct(|number| match number {
        0 => Err(Error::foreign(io::Error::other("not now"), true)),
        _ => Ok(Spot::Client),
    });
    assert!(direct.text().unwrap_err().is_transient());
    assert_eq!(direct.text().unwrap(), "client");
}

#[test]
fn a_file_that_was_moved_is_looked_for_once_more() {
    let path = tempfile::NamedTempFile::new().unwrap();
    fs::write(path.path(), "here").unwrap();
    let there = path.path().to_owned();
    let found = direct(move |number| {
        Ok(Spot::Path(if number == 0 { "/does/not/exist".into() } else { there.clone() }))
    });
    assert_eq!(found.text().unwrap(), "here");
    let gone = direct(|_| Ok(Spot::Path("/does/not/exist".into())));
    assert!(matches!(gone.text().unwrap_err(), Error::NotFound { .. }));
    assert_eq!(gone.asked(), 2);
}

#[test]
fn a_url_is_renewed_when_it_is_refused_and_then_left_to_the_client() {
    let there = server(vec![REFUSED, WHOLE]);
    let renewed = direct(move |_| Ok(url(&there, HOUR)));
    assert_eq!(renewed.text().unwrap(), "0123456789");
    assert_eq!(renewed.asked(), 2);
    let there = server(vec![REFUSED, REFUSED]);
    let refused = direct(move |_| Ok(url(&there, HOUR)));
    for _ in 0..3 {
        assert_eq!(refused.text().unwrap(), "client");
    }
    assert_eq!((refused.asked(), refused.client().gave_up.load(Ordering::SeqCst)), (2, 1));
}

#[test]
fn a_url_is_renewed_at_half_its_life() {
    let there = server(vec![WHOLE; 3]);
    let failing = Arc::new(Mutex::new(false));
    let direct = {
        let failing = Arc::clone(&failing);
        direct(move |_| match *failing.lock().unwrap() {
            true => Err(Error::foreign(io::Error::other("not now"), true)),
            false => Ok(url(&there, Duration::from_secs(1))),
        })
    };
    direct.text().unwrap();
    thread::sleep(Duration::from_millis(300));
    direct.text().unwrap();
    assert_eq!(direct.asked(), 1);
    // The old one does for a while, when there is no new one.
    *failing.lock().unwrap() = true;
    thread::sleep(Duration::from_millis(300));
    direct.text().unwrap();
    assert_eq!(direct.asked(), 2);
    thread::sleep(Duration::from_millis(500));
    direct.text().unwrap_err();
}

#[test]
fn a_body_that_breaks_is_continued_where_it_broke() {
    let there = server(vec![CUT, REST]);
    let direct = direct(move |_| Ok(url(&there, HOUR)));
    assert_eq!(direct.text().unwrap(), "0123456789");
    assert_eq!(direct.asked(), 1);
}

#[test]
fn without_progress_the_error_is_the_callers() {
    let there = server(vec!["503 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let busy = direct(move |_| Ok(url(&there, HOUR)));
    let error = busy.text().unwrap_err();
    assert!(error.is_transient() && !format!("{error:?}").contains("secret"), "{error:?}");
    let there = server(vec!["404 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]);
    let gone = direct(move |_| Ok(url(&there, HOUR)));
    assert!(matches!(gone.text().unwrap_err(), Error::NotFound { .. }));
    let there = server(vec!["200 all\r\nContent-Length: 10\r\nConnection: close\r\n\r\n0123456789"]);
    let ignores = direct(move |_| Ok(url(&there, HOUR)));
    let span = Span { offset: 3, size: Some(4) };
    assert!(ignores.open(&INFO, span).unwrap().is_none());
}

#[test]
fn what_is_remembered_is_bounded() {
    let direct = direct(|_| Ok(Spot::Client));
    for number in 1..6000_u64 {
        let info = FileInfo { min_txid: TxId::new(number), max_txid: TxId::new(number), ..INFO };
        assert!(direct.open(&info, Span { offset: 0, size: None }).unwrap().is_none());
    }
    direct.text().unwrap();
    assert_eq!(direct.asked(), 6000);
    direct.text().unwrap();
    assert_eq!(direct.asked(), 6000);
}
