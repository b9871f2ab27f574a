"""TXID, Checksum, Pos and FileInfo: their text forms and how they compare (LTX format, text forms)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxcore import TXID, Checksum, FileInfo, Pos, ltx
from ltxcore._process.times import from_millis, millis_bound, parse_time, seconds, to_millis
from ltxcore.errors import ConfigError, FormatError

U64 = st.integers(0, (1 << 64) - 1)


@given(U64)
def test_txid_text_is_16_lower_case_digits_and_comes_back(value: int) -> None:
    txid = TXID(value)
    assert str(txid) == f"{txid}" == f"{value:016x}"
    assert TXID.parse(str(txid)) == value
    assert TXID.parse(str(txid).upper()) == value
    assert eval(repr(txid)) == txid


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_numbers_beyond_64_bits_are_refused(value: int) -> None:
    with pytest.raises(FormatError, match="64-bit"):
        TXID(value)
    with pytest.raises(FormatError, match="64-bit"):
        Checksum(value)


@pytest.mark.parametrize(
    "text",
    ["", "1", "0" * 15, "0" * 17, "0x00000000000001", "00000000000000_1", " 000000000000001", "\u0660" * 16],
)
def test_what_is_not_16_digits_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="16 hexadecimal digits"):
        TXID.parse(text)


@given(U64, U64)
def test_positions_come_back_from_33_characters(txid: int, checksum: int) -> None:
    pos = Pos(TXID(txid), Checksum(checksum))
    assert len(str(pos)) == 33
    assert Pos.parse(str(pos)) == pos


@pytest.mark.parametrize("text", ["", "0" * 33, "0" * 16 + "/" + "0" * 15, "0" * 16 + "/" + "g" * 16])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Pos.parse(text)


@given(U64, U64)
def test_file_names_come_back(low: int, high: int) -> None:
    name = ltx.format_filename(low, high)
    assert name == f"{low:016x}-{high:016x}.ltx"
    assert ltx.parse_filename(name) == (low, high)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0000000000000001-0000000000000002",
        "0000000000000001-000000000000000A.ltx",
        "0000000000000001_0000000000000002.ltx",
        "0000000000000001-0000000000000002.ltx.tmp",
        "x000000000000001-0000000000000002.ltx",
    ],
)
def test_foreign_file_names_are_refused(name: str) -> None:
    with pytest.raises(FormatError):
        ltx.parse_filename(name)


def test_files_sort_by_level_then_txids() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    files = [
        FileInfo(*key, 1, when)
        for key in ((1, TXID(1), TXID(2)), (0, TXID(2), TXID(2)), (0, TXID(1), TXID(9)))
    ]
    assert [file.name for file in sorted(files)] == [files[2].name, files[1].name, files[0].name]
    assert files[0].name == "0000000000000001-0000000000000002.ltx"


def test_milliseconds_round_down_and_bounds_round_up() -> None:
    when = datetime(2026, 1, 1, 12, 0, 0, 1500, tzinfo=UTC)
    assert to_millis(when) % 1000 == 1
    assert millis_bound(when) % 1000 == 2
    assert millis_bound(from_millis(7)) == 7


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back_to_the_millisecond(when: datetime) -> None:
    assert when - from_millis(to_millis(when)) < timedelta(milliseconds=1)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_no_stored_time_is_too_far_away(millis: int) -> None:
    assert from_millis(millis).tzinfo is UTC


def test_naive_times_are_an_error() -> None:
    with pytest.raises(ConfigError, match="time zone"):
        parse_time("2026-03-01T12:00:00")
    with pytest.raises(ConfigError, match="time zone"):
        to_millis(datetime(2026, 3, 1))  # noqa: DTZ001 - the point of the test
    assert parse_time("2026-03-01T12:00:00Z") == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert parse_time("2026-03-01T12:00:00+02:00") == datetime(2026, 3, 1, 10, tzinfo=UTC)
    east = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert parse_time(east) is east


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), timedelta(seconds=-1)])
def test_impossible_durations_are_named(value: float | timedelta) -> None:
    with pytest.raises(ValueError, match="busy_timeout"):
        seconds(value, "busy_timeout")
