"""Values of options: durations, sizes, tags, transaction ids, times, levels."""

from datetime import UTC, datetime
from pathlib import Path

import click
import pytest

import ltxcore
from ltxcore._ltxcore import MAX_PARALLELISM
from ltxcore.cli._types import CAPACITY, DURATION, LEVEL, PARALLELISM, SIZE, TAG, TIMESTAMP, TXID
from ltxcore.errors import ConfigError


def convert(kind, text):
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("1m", 60.0),
        ("2", 2.0),
        ("0.5", 0.5),
        ("1.5h", 5400.0),
        ("1d", 86400.0),
    ],
)
def test_durations(text, seconds):
    assert convert(DURATION, text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "0", "0s", "-1s", "1x", "s", "1 s", "1s2", "1e3", "nan", "inf", "\u0661s"]
)
def test_no_durations(text):
    with pytest.raises(click.BadParameter):
        convert(DURATION, text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512MiB", 512 << 20),
        ("512M", 512_000_000),
        ("1.5GB", 1_500_000_000),
        ("1.5 gib", 3 << 29),
        ("64k", 64_000),
        ("0.1KiB", 102),
        ("1kB", 1000),
        ("7B", 7),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes(text, size):
    assert convert(SIZE, text) == size


@pytest.mark.parametrize("text", ["", "-1", "M", "1.5", "1e3", "1PiB", "1iB", "none", "\u0661", "9" * 20])
def test_no_sizes(text):
    with pytest.raises(click.BadParameter):
        convert(SIZE, text)


def test_a_capacity_is_a_size_or_a_word():
    assert [convert(CAPACITY, text) for text in ["1MiB", "none", "keep"]] == [1 << 20, None, "keep"]
    for text in ["0", "0KiB", "unlimited", "None", "-1"]:
        with pytest.raises(click.BadParameter):
            convert(CAPACITY, text)


def test_a_tag_is_a_name_and_a_text():
    assert [convert(TAG, text) for text in ["a=b", "a=", "a=b=c"]] == [("a", "b"), ("a", ""), ("a", "b=c")]
    for text in ["", "a", "=b"]:
        with pytest.raises(click.BadParameter):
            convert(TAG, text)


def test_txid_is_16_digits_and_not_0():
    assert convert(TXID, "00000000000000FF") == "00000000000000ff"
    for text in ["ff", "0" * 16, "0" * 17, "g" * 16, " " + "1" * 15, ""]:
        with pytest.raises(click.BadParameter):
            convert(TXID, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("99", "99; write 0000000000000099 for hexadecimal 99, or 0000000000000063 for decimal 99"),
        ("ff", "ff; write 00000000000000ff"),
        ("0" * 17, "must be 16 hexadecimal digits: 00000000000000000"),
        ("latest", "must be 16 hexadecimal digits: latest"),
    ],
)
def test_fewer_digits_of_a_txid_are_never_guessed_at(text, says):
    with pytest.raises(click.BadParameter) as caught:
        convert(TXID, text)
    assert caught.value.message.endswith(says)
    with pytest.raises(ConfigError) as error:
        ltxcore.restore("nowhere", "out.db", txid=text)
    said = str(error.value) if error.value.hint is None else f"{error.value}; {error.value.hint}"
    assert said == caught.value.message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-02-30T00:00:00Z", "not a time: 2026-02-30T00:00:00Z (day is out of range for month)"),
        ("2026-13-01T00:00:00Z", "not a time: 2026-13-01T00:00:00Z (month must be in 1..12)"),
        ("noon", "not a time: noon;"),
        ("2026-03-01T12:00:00", "a time needs a time zone: 2026-03-01T12:00:00;"),
    ],
)
def test_what_is_wrong_with_a_time_is_said(text, says):
    """All of it was "not a time with a zone"."""
    with pytest.raises(click.BadParameter) as caught:
        convert(TIMESTAMP, text)
    assert caught.value.message.startswith(says)
    assert caught.value.message.endswith("; write it like 2026-03-01T12:00:00Z")


RESTORE = Path(__file__).parents[2] / "rust" / "replica" / "src" / "restore.rs"


@pytest.mark.skipif(not RESTORE.exists(), reason="the sources are out of reach")
def test_parallelism_is_that_of_the_engine():
    assert f"const MOST_WORKERS: usize = {MAX_PARALLELISM};" in RESTORE.read_text()


def test_one_range_for_what_is_done_at_once(tmp_path):
    """It was 1 to 64, 1 to 12, or anything."""
    assert convert(PARALLELISM, "12") == MAX_PARALLELISM == 12
    for number in (0, -1, 13):
        message = f"parallelism must be from 1 to 12: {number}"
        with pytest.raises(click.BadParameter, match=message):
            convert(PARALLELISM, str(number))
        for call in (ltxcore.restore, ltxcore.follow):
            with pytest.raises(ConfigError, match=message) as caught:
                call(tmp_path, tmp_path / "out.db", parallelism=number)
            assert caught.value.key == "parallelism"
    with pytest.raises(click.BadParameter):
        convert(PARALLELISM, "many")


def test_a_time_needs_a_zone():
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert convert(TIMESTAMP, "2026-03-01T12:00:00Z") == noon
    assert convert(TIMESTAMP, "2026-03-01T13:00:00.000+01:00") == noon
    for text in ["2026-03-01T12:00:00", "noon", "", "2026-13-01T00:00:00Z"]:
        with pytest.raises(click.BadParameter):
            convert(TIMESTAMP, text)


def test_levels():
    assert [convert(LEVEL, text) for text in ["0", "9", "all"]] == [0, 9, None]
    for text in ["10", "-1", "", "ALL", "x"]:
        with pytest.raises(click.BadParameter):
            convert(LEVEL, text)
