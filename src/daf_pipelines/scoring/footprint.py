"""What a detector costs to run."""

import time

import numpy as np

from daf_pipelines.scoring.detector import Detector

WARM_UP, REPEATS = 3, 15


def footprint(detector: Detector) -> dict[str, float]:
    """Time and size of a detector on this machine.

    Returns:
        ``latency_ms``, the shortest time to score one prepared image alone (whatever else the
        machine does only adds to it), and ``model_mib``, the weights of all its networks.
    """
    size = detector.image_size
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), dtype=np.uint8)
    seconds = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        detector.score_batch(image)
        seconds.append(time.perf_counter() - start)
    weights = detector.model.state_dict().values()
    return {
        "latency_ms": 1000 * min(seconds[WARM_UP:]),
        "model_mib": sum(tensor.nbytes for tensor in weights) / 2**20,
    }
