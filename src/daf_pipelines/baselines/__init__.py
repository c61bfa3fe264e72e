"""PatchCore, STFPM and DRAEM of anomalib (2.7), trained on the images that DAF gets.

The networks, losses, optimisers, anomaly maps and image scores are anomalib's, with the values of
its Lightning models. What differs: PatchCore and STFPM see with the project's teacher, at the
strides that they read in a ResNet; DRAEM learns from the project's outliers; budgets are steps.

Importing anomalib takes ten seconds, so only ``networks`` and ``training`` do it.
"""

import importlib.util

from daf_pipelines.errors import DAFError


def require_anomalib(method: str) -> None:
    """Refuse a method whose package is not there.

    Raises:
        DAFError: naming the extra to install.
    """
    if importlib.util.find_spec("anomalib") is None:
        raise DAFError(
            f"The method {method} is anomalib's, which is not installed: "
            'pip install -c constraints.txt -e ".[samples,baselines]".'
        )
