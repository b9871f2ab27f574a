"""follow() beside a log that is down: that ends nothing, and is not passed over in silence."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltxcore import follow

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually
from tests.unit.followers import QUICK, begun, update


class Down(logging.Handler):
    """A log sink that raises for every record."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        raise SystemExit("the log sink is down")


@pytest.fixture
def sink() -> Iterator[Down]:
    logger, handler = logging.getLogger("tests.follow"), Down()
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def test_a_log_that_raises_ends_nothing_and_is_told_of(
    tmp_path: Path, sink: Down, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a handler of the application raised was swallowed, and nobody learned why the log was empty."""
    source, output = Source(tmp_path), tmp_path / "copy" / "out.db"
    source.move()
    begun(source, output)
    Path(f"{output}-ltxcore").unlink()
    away = source.replica.with_name("away")
    with follow(source.client, output, interval=QUICK, logger=logging.getLogger("tests.follow")) as running:
        assert "comparing" in sink.said[0]
        assert "SystemExit: the log sink is down" in capfd.readouterr().err
        source.replica.rename(away)
        eventually(lambda: running.error is not None)
        away.rename(source.replica)
        update(source, 7)
        assert running.wait(timeout=20).txid == source.txid
        eventually(lambda: running.error is None)
    assert content(output) == content(source.path)
    assert any("works again" in said for said in sink.said), sink.said
