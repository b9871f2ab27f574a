"""Values of options: durations, sizes, tags, transaction ids, times, levels."""

from datetime import UTC, datetime

import click
import pytest

from ltxcore.cli._types import CAPACITY, DURATION, LEVEL, SIZE, TAG, TIMESTAMP, TXID


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
