"""The check of who may import whom: inside a package with rooms too."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_layers.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="the sources are out of reach")


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, on a package with three rooms."""
    spec = importlib.util.spec_from_file_location("check_layers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(
        module, "ROOMS", {"pack": {"_low": set(), "_high": {"_low"}, "_face": {"_low", "_high"}}}
    )
    for name in ("__init__.py", "_low/__init__.py", "_low/one.py", "_high/__init__.py", "_face.py"):
        write(tmp_path, name, "")
    return module


def write(root: Path, name: str, text: str) -> None:
    path = root / "python" / "ltxcore" / "pack" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "from ltxcore.pack._low import one",
        "from ltxcore.pack._low.one import thing",
        "import ltxcore.pack._low.one",
        "from .._low import one",
        "from ltxcore.errors import Error",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ltxcore.pack import _face",
    ],
)
def test_a_room_may_import_those_below(layers: ModuleType, tmp_path: Path, text: str) -> None:
    write(tmp_path, "_high/two.py", text)
    assert [*layers.room_faults(), *layers.circle_faults()] == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("from ltxcore.pack import _face", "_face"),
        ("from ltxcore.pack._face import thing", "_face"),
        ("from .. import _face", "_face"),
        ("import ltxcore.pack._high.three", "_high"),
        ("def late():\n    from ltxcore.pack._high import three", "_high"),
        ("from ltxcore.pack import Thing", "Thing"),
        ("import ltxcore.pack", "__init__"),
    ],
)
def test_a_room_must_not_import_those_above(
    layers: ModuleType, tmp_path: Path, text: str, wanted: str
) -> None:
    write(tmp_path, "_low/two.py", text)
    line = text.count("\n") + 1
    assert [*layers.room_faults()] == [
        f"python/ltxcore/pack/_low/two.py:{line}: _low must not import {wanted}"
    ]


def test_a_room_has_to_be_in_the_table(layers: ModuleType, tmp_path: Path) -> None:
    write(tmp_path, "_new/one.py", "")
    assert [*layers.room_faults()] == ["room _new of pack is not in the table"]


def test_each_row_of_a_table_names_rows_above_it(layers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the table of the script
    for table in (layers.CRATES, layers.MODULES, *layers.ROOMS.values()):
        above: set[str] = set()
        for row, allowed in table.items():
            assert allowed <= above, f"{row} is above {sorted(allowed - above)}"
            above.add(row)


def test_modules_of_one_room_must_not_import_one_another_in_a_circle(
    layers: ModuleType, tmp_path: Path
) -> None:
    write(tmp_path, "_low/two.py", "from ltxcore.pack._low import one")
    write(tmp_path, "_low/one.py", "from ltxcore.pack._low.three import thing")
    write(tmp_path, "_low/three.py", "from ltxcore.pack._low.two import thing")
    write(tmp_path, "_low/four.py", "from ltxcore.pack._low.two import thing")
    assert [*layers.room_faults()] == []
    circle = [f"ltxcore.pack._low.{name} imports itself by way of others" for name in ("one", "three", "two")]
    assert [*layers.circle_faults()] == circle


def test_a_circle_is_found_in_any_package(layers: ModuleType, tmp_path: Path) -> None:
    write(tmp_path, "../__init__.py", "from ltxcore.flat import thing")
    write(tmp_path, "../flat/__init__.py", "from ltxcore.flat._one import thing")
    write(tmp_path, "../flat/_one.py", "from ltxcore import _ltxcore")
    assert [*layers.circle_faults()] == []  # the native module is not the package that it is in
    write(tmp_path, "../flat/_one.py", "def late():\n    from ltxcore.flat import _two")
    write(tmp_path, "../flat/_two.py", "from ltxcore.flat import thing")
    circle = [
        f"ltxcore.{name} imports itself by way of others" for name in ("flat", "flat._one", "flat._two")
    ]
    assert [*layers.circle_faults()] == circle
