//! Whether an answer is one to the question (RFC 9110, sections 14 and 15).

use std::time::Duration;

use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RETRY_AFTER, TRANSFER_ENCODING};
use ureq::http::{HeaderMap, HeaderName, Response};

use crate::error::{Error, Result};

/// The bytes that are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) offset: u64,
    /// Not 0; `None` for all to the end.
    pub(crate) size: Option<u64>,
}

impl Asked {
    /// The value of `Range`.
    pub(crate) fn header(&self) -> String {
        match self.last() {
            Some(last) => format!("bytes={}-{last}", self.offset),
            None => format!("bytes={}-", self.offset),
        }
    }

    fn last(&self) -> Option<u64> {
        self.size.map(|size| self.offset.saturating_add(size - 1))
    }
}

/// What there will be in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing.
    Nothing,
    /// So many bytes, and then its end.
    Bytes(u64),
    /// So many bytes, and more that nobody wants.
    First(u64),
    /// At most so many: the body says by itself where it ends.
    UpTo(u64),
}

/// What the body of a response will be, and how large the whole object is, if the server says.
pub(crate) fn check(
    asked: &Asked,
    host: &str,
    response: &Response<ureq::Body>,
) -> Result<(Expected, Option<u64>)> {
    let headers = response.headers();
    let total = match response.status().as_u16() {
        200 => length(headers),
        _ => content_range(headers).and_then(|range| range.total),
    };
    expected(asked, host, response.status().as_u16(), headers).map(|expected| (expected, total))
}

fn expected(asked: &Asked, host: &str, status: u16, headers: &HeaderMap) -> Result<Expected> {
    match status {
        206 => is_plain(headers, host).and_then(|()| part(asked, host, headers)),
        200 => is_plain(headers, host).and_then(|()| whole(asked, host, headers)),
        416 => beyond(asked, host, headers),
        status => Err(refusal(host, status, headers)),
    }
}

fn is_plain(headers: &HeaderMap, host: &str) -> Result<()> {
    match text(headers, &CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(()),
        Some(_) => Err(Error::Encoded { host: host.to_owned() }),
    }
}

/// The part of the object that was asked for, or its beginning if the object ends there.
fn part(asked: &Asked, host: &str, headers: &HeaderMap) -> Result<Expected> {
    let wrong = || Error::WrongRange { host: host.to_owned() };
    let range = content_range(headers).ok_or_else(wrong)?;
    let (first, last) = range.part.ok_or_else(wrong)?;
    let end = range.total.map(|total| total - 1);
    let is_all = match asked.last() {
        Some(wanted) => last == wanted || (last < wanted && end.is_none_or(|end| last == end)),
        None => end.is_none_or(|end| last == end),
    };
    let size = last - first + 1;
    if first != asked.offset || !is_all || length(headers).is_some_and(|length| length != size) {
        return Err(wrong());
    }
    Ok(Expected::Bytes(size))
}

/// All of the object, which has been asked for if it is from its beginning.
fn whole(asked: &Asked, host: &str, headers: &HeaderMap) -> Result<Expected> {
    if asked.offset != 0 {
        return Err(Error::RangesIgnored { host: host.to_owned() });
    }
    let most = asked.size.unwrap_or(u64::MAX);
    match length(headers) {
        Some(0) => Ok(Expected::Nothing),
        Some(length) if length <= most => Ok(Expected::Bytes(length)),
        Some(_) => Ok(Expected::First(most)),
        None if headers.contains_key(TRANSFER_ENCODING) => Ok(Expected::UpTo(most)),
        // It ends with the connection, whole or not.
        None => Err(Error::WrongRange { host: host.to_owned() }),
    }
}

/// Nothing, if the object does end before.
fn beyond(asked: &Asked, host: &str, headers: &HeaderMap) -> Result<Expected> {
    let total = content_range(headers).and_then(|range| range.total);
    if total.is_some_and(|total| total > asked.offset) {
        return Err(Error::WrongRange { host: host.to_owned() });
    }
    Ok(Expected::Nothing)
}

fn refusal(host: &str, status: u16, headers: &HeaderMap) -> Error {
    let host = host.to_owned();
    match status {
        404 | 410 => Error::NotFound { host, status },
        400 | 401 | 403 => Error::Refused { host, status },
        408 | 429 | 500 | 502 | 503 | 504 => {
            let retry_after = text(headers, &RETRY_AFTER).and_then(|text| text.parse().ok());
            Error::Busy { host, status, retry_after: retry_after.map(Duration::from_secs) }
        }
        _ => Error::Status { host, status },
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    text(headers, &CONTENT_RANGE).and_then(ContentRange::parse)
}

fn length(headers: &HeaderMap) -> Option<u64> {
    text(headers, &CONTENT_LENGTH)?.parse().ok()
}

/// `bytes <first>-<last>/<total>`, where `*` stands for what is not known.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    part: Option<(u64, u64)>,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.split_once(' ')?;
        let (part, total) = rest.trim().split_once('/')?;
        let part = match part.split_once('-') {
            Some((first, last)) => Some((number(first)?, number(last)?)),
            None if part == "*" => None,
            None => return None,
        };
        let total = if total == "*" { None } else { Some(number(total)?) };
        // The size of the part has to be a number, too.
        let is_sound = |(first, last)| first <= last && last < total.unwrap_or(u64::MAX);
        (unit.eq_ignore_ascii_case("bytes") && part.is_none_or(is_sound)).then_some(Self { part, total })
    }
}

fn number(text: &str) -> Option<u64> {
    // `parse` takes a sign, too.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(part: Option<(u64, u64)>, total: Option<u64>) -> Option<ContentRange> {
        Some(ContentRange { part, total })
    }

    #[test]
    fn content_ranges() {
        assert_eq!(ContentRange::parse("bytes 0-0/1"), range(Some((0, 0)), Some(1)));
        assert_eq!(ContentRange::parse("Bytes 10-19/*"), range(Some((10, 19)), None));
        assert_eq!(ContentRange::parse("bytes */7"), range(None, Some(7)));
        assert_eq!(ContentRange::parse("bytes */0"), range(None, Some(0)));
        let wrong = [
            "",
            "bytes",
            "bytes 1-2",
            "bytes 2-1/9",
            "bytes 1-9/9",
            "bytes -1-2/9",
            "bytes +1-2/9",
            "items 1-2/9",
            "bytes 1-2/99999999999999999999",
            "bytes 0-18446744073709551615/*",
        ];
        for text in wrong {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
    }

    #[test]
    fn headers_of_ranges() {
        assert_eq!(Asked { offset: 5, size: Some(1) }.header(), "bytes=5-5");
        assert_eq!(Asked { offset: 5, size: None }.header(), "bytes=5-");
        assert_eq!(Asked { offset: 5, size: Some(u64::MAX) }.header(), format!("bytes=5-{}", u64::MAX));
    }
}
