"""Migration is refused on a Cluster, where nothing of 0.33 can be."""

from __future__ import annotations

import pytest

from rpqueue import App
from rpqueue.errors import RefusedInput
from rpqueue.migration import Migration


def test_a_cluster_holds_nothing_of_the_version_before(app: App) -> None:
    with pytest.raises(RefusedInput, match=r"got a Cluster, which 0\.33 did not"):
        Migration(app, "old")
