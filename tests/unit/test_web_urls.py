"""URLs of web servers, directory pages as servers make them, and listings, without a server."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ltxcore
from ltxcore import TXID, FileInfo
from ltxcore._process.urls import shown
from ltxcore.clients._listing import Listing, decode, encode
from ltxcore.clients.http import HTTPClient
from ltxcore.clients.http._address import parse
from ltxcore.clients.http._index import names_in
from ltxcore.clients.http._store import MAX_PAGE
from ltxcore.errors import ConfigError, FormatError

NAME = "0000000000000001-0000000000000002.ltx"
#: The URL of a directory page.
FOLDER = "https://host/app/ltx/0/"


@pytest.mark.parametrize(
    ("url", "of"),
    [
        ("https://host/app", "https://host/app/KEY"),
        ("https://host/app/", "https://host/app/KEY"),
        ("HTTPS://host", "https://host/KEY"),
        ("http://host:8080/a%20b/c", "http://host:8080/a%20b/c/KEY"),
        ("http://host/a b/\u00e4", "http://host/a%20b/%C3%A4/KEY"),
        ("http://[::1]:81/x", "http://[::1]:81/x/KEY"),
        ("http://[::1]:80/x", "http://[::1]/x/KEY"),
        ("https://host:80/x", "https://host:80/x/KEY"),
        ("https://HOST:443/x", "https://host/x/KEY"),
        ("https://host/app?sv=1&sig=a%2Bb/c=", "https://host/app/KEY?sv=1&sig=a%2Bb/c="),
        ("https://me:secret@host/app?a=b", "https://host/app/KEY?a=b"),
    ],
)
def test_urls_of_files(url: str, of: str) -> None:
    assert parse(url).of("KEY") == of
    assert parse(url).shown("KEY") == of.partition("?")[0]


def test_a_user_is_sent_as_basic_authentication() -> None:
    headers = parse("https://me:p%40ss%3A%2Fword@host/app").headers
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:p@ss:/word"
    assert base64.b64decode(parse("https://token@host").headers["Authorization"][6:]) == b"token:"
    assert not parse("https://host/app").headers
    own = parse("https://me:x@host", {"Authorization": "Bearer own"})
    assert own.headers == {"Authorization": "Bearer own"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://", "not the URL of a web server"),
        ("https:///app", "not the URL of a web server"),
        ("https://me:secret@/app", "not the URL of a web server"),
        ("https://host:port/app", "not the URL of a web server"),
        ("https://me:secret@h\u00f6st/app", "not the URL of a web server"),
        ("https://[::1/app?secret", "not the URL of a web server"),
        ("https://me:secret@host/app?secret#part", "the URL has a #: https://host/app\n"),
        ("https://me:secret/secret@host:1/app", "not the URL of a web server: https://host:1/app\n"),
        ("https://host/app?X-Amz-Signature=secret", "signed for one object"),
        ("https://host/app?x-goog-signature=secret", "signed for one object"),
    ],
)
def test_refused_urls(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ltxcore.client_from_url(url)
    assert (
        "secret"
        not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caught.value.__context__!r}"
    )


def test_urls_are_shown_without_secrets() -> None:
    assert shown("https://token@host/app?sig=x#y") == "https://host/app"
    assert shown("http://me:secret@host:1/app/") == "http://host:1/app/"
    assert shown("s3://bucket/app?endpoint=x") == "s3://bucket/app"
    client = HTTPClient("https://token@host/app?sig=x", headers={"X-Key": "secret"})
    assert repr(client) == "HTTPClient('https://host/app')"
    assert "sig" not in repr(client.store.address)
    assert "secret" not in repr(client.store.address)
    assert "token" not in repr(client.identity)
    assert "sig" not in repr(client.identity)
    assert client.identity == HTTPClient("https://token@host/app/?sig=x").identity
    assert client.identity != HTTPClient("https://token@host/app2?sig=x").identity


PAGES = {
    "nginx": f'<html><body><h1>Index of /a/</h1><hr><pre><a href="../">../</a>\n<a href="{NAME}">{NAME[:20]}..&gt;</a>',
    "nginx json": json.dumps([{"name": NAME, "type": "file", "mtime": "Mon", "size": 5}]),
    "apache": f'<table><tr><td><a href="?C=N;O=D">Name</a></td></tr><tr><td><A HREF="{NAME}">0000</A></td></tr></table>',
    "caddy": f'<a href="./{NAME}"><span class="name">x</span></a>',
    "caddy json": json.dumps([{"name": NAME, "size": 5, "url": f"./{NAME}", "is_dir": False}]),
    "absolute": f'<a class=x href="/app/ltx/0/{NAME}?raw=1#x">',
    "url": f"<a href='https://host/app/ltx/0/{NAME}'>",
    "escaped": f'<a href="{NAME.replace("-", "%2D")}">',
}


@pytest.mark.parametrize("kind", PAGES)
def test_names_in_directory_pages(kind: str) -> None:
    assert NAME in set(names_in(PAGES[kind].encode(), FOLDER))


def test_folders_in_directory_pages() -> None:
    assert set(names_in(b'<a href="0/">0/</a><a href="./9/">', FOLDER)) == {"0", "9"}
    assert set(names_in(b'[{"name": "0", "type": "directory"}, {"name": "9/"}]', FOLDER)) == {"0", "9"}


@pytest.mark.parametrize(
    "link",
    [
        '<a href="/5/">Parent Directory</a>',
        '<a href="../">',
        '<a href="../5/">',
        '<a href="./">',
        '<a href="/app/ltx/0/">',
        '<a href="?C=N;O=D">',
        '<a href="5/6/">',
        '<a href="5%2F6/">',
        '<a href="https://other/app/ltx/0/5/">',
        '<a href="//other/app/ltx/0/5/">',
        '<a href="https://host:444/app/ltx/0/5/">',
        '<a href="https://host:port/app/ltx/0/5/">',
        '<a href="https://[/5/">',
        '<a href="/app/ltx/05/">',
        '<a href="mailto:5">',
        '<a data-href="5/">',
        '<abbr href="5/">',
        '<link href="5/">',
        '<p>a href="5/"</p>',
        '<a href="">',
        f'<a href="{"5" * 1001}">',
    ],
)
def test_links_to_elsewhere_are_no_names(link: str) -> None:
    """The last part of any link was taken for the name of a folder or a file."""
    assert [*names_in(link.encode(), FOLDER)] == []
    assert [*names_in(f'{link}<a title=">" href="x"><a href="4/">{link}'.encode(), FOLDER)] == ["4"]


@pytest.mark.parametrize(
    "part",
    [
        "<a href='",
        "<!--",
        '<a href="',
        "<a ",
        "<a href",
        "<a href = ",
        "href=",
        "<",
        "[",
        "[[",
        "&#9",
        "<a\thref=x'",
    ],
)
def test_no_page_takes_long(part: str) -> None:
    """180 kB of links that do not end took 83 seconds, and a page of brackets ended with a RecursionError."""
    assert len(set(names_in((part * MAX_PAGE)[:MAX_PAGE].encode(), FOLDER))) <= 1


def test_a_page_of_many_files_is_read() -> None:
    names = [ltxcore.ltx.format_filename(number, number) for number in range(1, 5001)]
    page = "".join(f'<tr><td><a class="x" href="{name}">{name}</a></td></tr>\n' for name in names)
    assert sorted(names_in(page.encode(), FOLDER)) == names


@given(st.binary())
def test_any_page_has_some_names(page: bytes) -> None:
    assert all(isinstance(name, str) for name in names_in(page, FOLDER))


SCALARS = st.none() | st.booleans() | st.text() | st.integers() | st.floats()


@given(SCALARS | st.lists(SCALARS | st.lists(SCALARS)) | st.dictionaries(st.text(), SCALARS))
def test_any_json_is_a_listing_or_none(value: object) -> None:
    for data in (value, {"version": 1, "folders": value, "files": value}, [{"name": value}]):
        text = json.dumps(data).encode()
        list(names_in(text, FOLDER))
        with pytest.raises(FormatError):
            decode(text, "https://host/ltx.json")


ROW: dict[str, object] = {
    "level": 0,
    "min_txid": "0000000000000001",
    "max_txid": "0000000000000001",
    "size": 1310,
    "timestamp": "2026-03-01T12:00:00.000Z",
}
FOLDERS = [f"ltx/{level}" for level in range(10)]
#: What no listing has there.
WRONG = {
    "level": [-1, 10, 1 << 80, True, False, None, "0", 0.0, []],
    "min_txid": [1, None, "", "0" * 16, "1", "g" * 16, "0" * 16 + "1", "f" * 17, "-000000000000001", [], 2.0],
    "max_txid": [1, None, "", "0" * 16, "1", "f" * 17, "f" * 400, {}],
    "size": [-1, 1 << 63, 1 << 64, 1 << 80, 10**400, True, None, "1", 1.0, float("nan"), float("inf")],
    "timestamp": [None, 0, "", "x", "9999-99-99T00:00:00Z", "0000-01-01T00:00:00Z", "9" * 400, [], {}],
}


def listing(row: object = ROW, **others: object) -> bytes:
    return json.dumps({"version": 1, "folders": FOLDERS, "files": [row], **others}).encode()


@pytest.mark.parametrize("key", WRONG)
def test_impossible_rows_of_listings(key: str) -> None:
    """A size of 2**80 ended with an OverflowError."""
    assert len(decode(listing(), "place").files) == 1
    for value in WRONG[key]:
        with pytest.raises(FormatError, match="not a listing"):
            decode(listing(ROW | {key: value}), "place")
    with pytest.raises(FormatError):
        decode(listing({name: value for name, value in ROW.items() if name != key}), "place")


def test_impossible_listings() -> None:
    for row in (None, 1, "", [], [ROW]):
        with pytest.raises(FormatError):
            decode(listing(row), "place")
    for others in (
        {"version": True},
        {"version": None},
        {"version": 10**400},
        {"files": None},
        {"files": {"a": 1}},
        {"folders": [*range(10)]},
        {"folders": "ltx/0"},
        {"folders": [*FOLDERS[:9], "../9"]},
    ):
        with pytest.raises(FormatError):
            decode(listing(**others), "place")
    with pytest.raises(FormatError):
        decode(b"[" * 100_000, "place")
    with pytest.raises(FormatError):
        decode(listing(ROW | {"min_txid": "0000000000000002"}), "place")


TXIDS = st.integers(1, (1 << 64) - 1).map(TXID)


@given(
    st.lists(
        st.builds(
            FileInfo,
            st.integers(0, 9),
            TXIDS,
            TXIDS,
            st.integers(0, 1 << 50),
            st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001 - they get their zone
                lambda when: when.replace(microsecond=when.microsecond // 1000 * 1000, tzinfo=UTC)
            ),
        ).filter(lambda file: file.min_txid <= file.max_txid)
    )
)
def test_listings_come_back(files: list[FileInfo]) -> None:
    folders = tuple(f"ltx/{level}" for level in range(10))
    assert decode(encode(folders, files), "place") == Listing(folders, sorted(files))


@pytest.mark.parametrize(
    "change",
    [
        {"level": 10},
        {"level": True},
        {"level": "0"},
        {"min_txid": "0000000000000000"},
        {"min_txid": "0000000000000003"},
        {"min_txid": 1},
        {"size": -1},
        {"size": 1.5},
        {"size": None},
        {"timestamp": "2026-01-01T00:00:00"},
        {"timestamp": "yesterday"},
        {"timestamp": 5},
    ],
)
def test_wrong_rows_are_refused(change: dict[str, object]) -> None:
    row = {
        "level": 0,
        "min_txid": "0000000000000001",
        "max_txid": "0000000000000002",
        "size": 5,
        "timestamp": "2026-01-01T00:00:00.000Z",
    }
    listing = {"version": 1, "folders": [f"ltx/{level}" for level in range(10)], "files": [row]}
    assert decode(json.dumps(listing).encode(), "place").files[0].size == 5
    listing["files"] = [row | change]
    with pytest.raises(FormatError, match="not a listing of LTX files: place"):
        decode(json.dumps(listing).encode(), "place")


@pytest.mark.parametrize(
    "folder", ["", "/ltx/0", "ltx//0", "ltx/0/", "..", "../x", "ltx/0?a", "http://x", "a b"]
)
def test_folders_stay_below_the_replica(folder: str) -> None:
    listing = {"version": 1, "folders": [folder] * 10, "files": []}
    with pytest.raises(FormatError):
        decode(json.dumps(listing).encode(), "place")
