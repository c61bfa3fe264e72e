"""Made-up test images, shared."""

from typing import Any

import pytest

from made_up_runs import make_images


@pytest.fixture(scope="session")
def images() -> dict[str, Any]:
    return make_images()
