"""Both layouts in one place: 0.3.13 before an upgrade to 0.5.17, or after it was taken back."""

import shutil

import pytest

from tests.helpers.app import digest, reference, row_count
from tests.helpers.litestream03 import content
from tests.helpers.site import Site
from tests.helpers.v03_place import Place

pytestmark = [pytest.mark.interop, pytest.mark.litestream03, pytest.mark.process, pytest.mark.timeout(180)]


@pytest.mark.parametrize("storage", ["directory", "s3"])
def test_a_backup_of_both_layouts(site: Site, storage: str, request: pytest.FixtureRequest) -> None:
    """0.3.13 wrote here, and since an upgrade 0.5.17 does: the newest state and those before and after the upgrade.

    `ltxcore.restore` is not told of it, and agrees with 0.5.17.
    """
    place = Place(site, request.getfixturevalue("seaweedfs") if storage == "s3" else None)
    with site.app(autocheckpoint=0) as app:
        place.replicator.start()
        app.insert(50)
        place.replicator.barrier()
        before, expected = place.moment(), content(reference(site.db, site.scratch))
        app.insert(1)
        place.replicator.barrier()
        place.replicator.stop()
        newest_of_03 = digest(place.by_03())
        assert digest(place.chosen()) == newest_of_03
        place.moment()
        app.insert(20)
        place.upgraded()
        early = place.moment()
        app.insert(1)
        place.upgraded()
        assert row_count(place.chosen()) == 72
        place.upgraded("-force-snapshot")
        after, expected_after = place.moment(), content(reference(site.db, site.scratch))
        app.insert(1)
        place.upgraded("-force-snapshot")
    assert content(place.chosen(timestamp=before)) == expected
    # No LTX snapshot was there then: 0.5.17 restores what 0.3.13 wrote last. But the state of that time is in LTX files.
    assert digest(place.by_05(timestamp=early)) == newest_of_03
    assert row_count(place.by_ltxcore(timestamp=early)) == 71
    assert content(place.chosen(timestamp=after)) == expected_after
    assert row_count(place.chosen()) == 73
    # Told of the layout, we still have what 0.3.13 wrote.
    assert digest(place.by_us()) == newest_of_03


def test_going_back_to_03(site: Site) -> None:
    """0.5.17 wrote here first, and then 0.3.13: what is newer counts."""
    place = Place(site)
    with site.app(autocheckpoint=0) as app:
        successor = site.running(kind="litestream")
        app.insert(20)
        successor.barrier()
        successor.stop()
        shutil.rmtree(place.replicator.meta)
        place.replicator.start()
        app.insert(5)
        place.replicator.barrier()
        place.replicator.stop()
    assert row_count(place.chosen()) == 25
