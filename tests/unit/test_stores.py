"""The contract suites, on every client of the product and on stores of the test suite's own."""

import io
from pathlib import Path
from typing import Any

import pytest

from ltxcore import FileClient, ReplicaClient
from ltxcore.clients import _directory
from ltxcore.clients.objects import ObjectReplicaClient
from ltxcore.stores import Capabilities, ObjectStore
from ltxcore.testing import ObjectStoreContract, ReplicaClientContract

from tests.helpers.stores import DirectoryStore, FlakyStore, MemoryStore
from tests.unit.memory import MemoryClient


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("_transfer", "objects"):
        monkeypatch.setattr(f"ltxcore.clients.{module}.PAUSES", (0.0,) * 3)


class TestMemoryStore(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return MemoryStore()


class TestStoreThatCanDoNothing(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return MemoryStore(Capabilities())


class TestOurDirectoryStore(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return _directory.DirectoryStore(tmp_path / "store")


class TestDirectoryStore(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        return DirectoryStore(tmp_path / "store")


DOCUMENT = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.mark.skipif(not DOCUMENT.exists(), reason="the sources are out of reach")
class TestStoreOfTheDocumentation(ObjectStoreContract):
    def make(self, tmp_path: Path) -> ObjectStore:
        text = DOCUMENT.read_text("ascii")
        section = text.partition("## Bring your own storage")[2]
        example = section.partition("```python\n")[2].partition("\nstore = ")[0]
        names: dict[str, Any] = {}
        exec(compile(example, "docs/python.md", "exec"), names)
        store: ObjectStore = names["DictStore"]()
        return store


class TestFileClient(ReplicaClientContract):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return FileClient(tmp_path / "replica")

    def put_foreign(self, client: ReplicaClient, level: int, name: str) -> bool:
        assert isinstance(client, FileClient)
        (client.path / f"ltx/{level}" / name).write_bytes(b"?")
        return True


class TestFiveMethods(ReplicaClientContract):
    refuses_other_files = False

    def make(self, tmp_path: Path) -> ReplicaClient:
        return MemoryClient()


class OnStore(ReplicaClientContract):
    def put_foreign(self, client: ReplicaClient, level: int, name: str) -> bool:
        assert isinstance(client, ObjectReplicaClient)
        store = client.store.store if isinstance(client.store, FlakyStore) else client.store
        store.write(f"{client.prefix}ltx/{level}/{name}", io.BytesIO(b"?"))
        return True


class TestClientOfMemory(OnStore):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return ObjectReplicaClient(MemoryStore())


class TestClientOfStoreThatCanDoNothing(OnStore):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return ObjectReplicaClient(MemoryStore(Capabilities()), "backups/app")


class TestClientOfDirectory(OnStore):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return ObjectReplicaClient(DirectoryStore(tmp_path / "store"), "a/")


class TestClientOfFlakyStore(OnStore):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return ObjectReplicaClient(FlakyStore(MemoryStore()))


class TestClientOfFlakyStoreThatCanDoNothing(OnStore):
    def make(self, tmp_path: Path) -> ReplicaClient:
        return ObjectReplicaClient(FlakyStore(MemoryStore(Capabilities())))
