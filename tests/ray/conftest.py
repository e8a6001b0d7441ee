"""One cluster for the tests of a module; a test that needs a second node joins one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.raynodes import VARIABLES, RayCluster, ray_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch, ray_cluster() as found:
        for name, value in VARIABLES.items():
            patch.setenv(name, value)
        yield found
