"""Positions in a v0.3 history: text form, zero value, order, truncation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxcore.errors import FormatError
from ltxcore.legacy import Pos

GENERATION = "00000000000000ab"
POSITIONS = st.builds(
    Pos,
    st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    st.integers(0, 0x7FFFFFFF),
    st.integers(0, (1 << 64) - 1),
)


def test_a_position_is_written_as_litestream_writes_it() -> None:
    assert str(Pos(GENERATION, 0x1F, 4152)) == "00000000000000ab/0000001f:4152"


def test_no_position() -> None:
    assert not Pos()
    assert Pos(GENERATION)
    assert Pos.parse(str(Pos())) == Pos()


def test_order_and_truncation() -> None:
    position = Pos(GENERATION, 0x1F, 4152)
    assert position.truncated() == Pos(GENERATION, 0x1F) < position < Pos(GENERATION, 0x20)


@given(POSITIONS)
def test_positions_are_parsed_as_they_were_written(position: Pos) -> None:
    assert Pos.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        GENERATION,
        f"{GENERATION}/0000001f",
        f"{GENERATION}/1f:0",
        f"{GENERATION}/0000001f:",
        f"{GENERATION}/0000001f:-1",
        f"{GENERATION}/0000001f:007",
        f"{GENERATION}/8000001f:0",
        f"{GENERATION}/0000001f:18446744073709551616",
        f"{GENERATION.upper()}/0000001f:0",
        f"{GENERATION}/0000001f:0\n",
    ],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match="not a position"):
        Pos.parse(text)
