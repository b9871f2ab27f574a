"""Contract suites: what a storage of your own has to do, as tests for pytest.

Subclass a suite, and say how an empty store or client is made::

    import pytest

    pytest.register_assert_rewrite("ltxcore.testing")  # before the import below: failures then show the values

    from ltxcore.testing import ObjectStoreContract
    from my_package import MyStore

    class TestMyStore(ObjectStoreContract):
        def make(self, tmp_path):
            return MyStore(tmp_path / "store")

The suites need no network, and a store that passes is fit for ``ltxcore.clients.objects.ObjectReplicaClient``. They import
nothing but ltxcore and the standard library.
"""

from ltxcore.testing._client_contract import ReplicaClientContract
from ltxcore.testing._store_contract import ObjectStoreContract

__all__ = ["ObjectStoreContract", "ReplicaClientContract"]
