"""Durations and sizes mean the same wherever they are written."""

import click
import pytest

from ltxcore import config, errors
from ltxcore._process.units import parse_duration, parse_size
from ltxcore.cli._types import DURATION, SIZE

DURATIONS = {
    "1h30m": 5400,
    "1.5s": 1.5,
    ".5m": 30,
    "1us": 1e-6,
    "250ms": 0.25,
    "1d": 86_400,
    "1d12h": 129_600,
}
SIZES = {
    "0": 0,
    "12": 12,
    "7B": 7,
    "1KB": 1000,
    "1 KiB": 1024,
    "64M": 64_000_000,
    "64MB": 64_000_000,
    "64MiB": 64 << 20,
    "1.5M": 1_500_000,
    "2gib": 2 << 30,
    "5.3MiB": 5_557_452,
    "1TiB": 1 << 40,
}


@pytest.mark.parametrize("text", DURATIONS)
def test_a_duration_is_the_same_everywhere(text: str) -> None:
    expected = pytest.approx(DURATIONS[text])
    assert parse_duration(text) == expected
    assert config.parse(f"l0-retention: {text}").l0_retention == expected
    assert DURATION.convert(text, None, None) == expected


@pytest.mark.parametrize("text", SIZES)
def test_a_size_is_the_same_everywhere(text: str) -> None:
    """`64M` was 67,108,864 bytes on the command line and 64,000,000 in a configuration file, as for Litestream."""
    assert parse_size(text) == SIZES[text]
    assert config.parse(f"part-size: {text}").part_size == SIZES[text]
    assert SIZE.convert(text, None, None) == SIZES[text]


@pytest.mark.parametrize("text", ["", "1x", "s", "1 s", "1s2", "1e3", "nan", "inf", "\u0661s", "--1s", "1S"])
def test_what_is_no_duration_is_none_anywhere(text: str) -> None:
    for bare in (False, True):
        with pytest.raises(ValueError, match="not a duration"):
            parse_duration(text, bare_seconds=bare)
    with pytest.raises(click.BadParameter, match="not a duration"):
        DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "M", "1.5", "1.5B", "1e3", "1PiB", "1iB", "none", "\u0661"),
        *("9" * 20, "9" * 5000, "0." + "0" * 5000 + "1K"),
    ],
)
def test_what_is_no_size_is_none_anywhere(text: str) -> None:
    for parse in (parse_size, lambda text: SIZE.convert(text, None, None)):
        with pytest.raises((ValueError, click.BadParameter), match="size"):
            parse(text)


def test_only_the_command_line_takes_bare_seconds() -> None:
    assert parse_duration("2.5", bare_seconds=True) == 2.5
    assert (parse_duration("0"), parse_duration("-2ms")) == (0, pytest.approx(-0.002))
    with pytest.raises(ValueError, match="such as 10s, 250ms or 1h30m: 5"):
        parse_duration("5")


@pytest.mark.parametrize("text", ["9223372037s", "106752d", "9" * 99 + "s", "9" * 400 + "s", "-106752d"])
def test_what_is_longer_than_any_clock_goes_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
    with pytest.raises(errors.ConfigError, match="duration") as caught:
        config.parse(f"l0-retention: {text}")
    assert caught.value.key == "l0-retention"
    assert parse_duration("106751d") == 106_751 * 86_400
