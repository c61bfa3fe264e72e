"""Pictures of how far a detector is, drawn while it is trained."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from daf_pipelines.models import DAF
from daf_pipelines.parameters import ScoringParams
from daf_pipelines.reporting.figures import progress_figure
from daf_pipelines.scoring.detector import Detector
from daf_pipelines.sources.image_set import ImageSet
from daf_pipelines.sources.images import contents
from daf_pipelines.synthesis.validation import masks_of

LOG = logging.getLogger(__name__)
SHOWN = 6
SPACING = 50.0  # times that the last picture took, until the next one: then 2 % of the time
LONGEST_SECONDS = 600.0


class OutlierPictures:
    """An observer of the decoder's training that shows some outliers as the detector sees them.

    The first picture is drawn when the observer is first told of the phase; from then on the time
    until the next one is as long as the phase has taken so far, up to ten minutes.

    Args:
        model: that is trained: it is looked at between two steps, and left as it is.
        outliers: a synthetic set, of images that training does not see.
        scoring: from the model's outputs to maps.
        show: gets each picture.
    """

    def __init__(
        self,
        model: DAF,
        outliers: ImageSet,
        scoring: ScoringParams,
        show: Callable[[Figure], None],
    ) -> None:
        self._model, self._outliers, self._show = model, outliers, show
        self._scoring = scoring
        self._began, self._not_before = time.monotonic(), 0.0

    def __call__(self, phase: str, history: pd.DataFrame) -> None:
        """Draw a picture where one is due. What prevents it does not end the training."""
        now = time.monotonic()
        ends_with_an_error = sys.exception() is not None  # which is not to wait for a picture
        if phase != "decoder" or now < self._not_before or ends_with_an_error:
            return
        try:
            self._show(self._draw(int(history["step"].iloc[-1]) + 1))
        except Exception as error:  # a full disk, a full GPU: nothing that hours should be lost for
            LOG.warning("No picture of the validation outliers (%s). Training goes on.", error)
        ended = time.monotonic()
        pause = max(SPACING * (ended - now), min(now - self._began, LONGEST_SECONDS))
        self._not_before = ended + pause

    def _draw(self, steps: int) -> Figure:
        count = len(self._outliers)
        rows = np.linspace(0, count - 1, min(SHOWN, count)).round().astype(int)
        images, masks = self._outliers.images[rows], masks_of(self._outliers)[rows]
        boxes = [self._outliers.boxes[row] for row in rows]
        with at_rest(self._model):
            detector = Detector(self._model, self._scoring, images.shape[1])
            maps = detector.anomaly_maps(detector.inputs(images), boxes)[:, 0].cpu().numpy()
        return progress_figure(
            contents(images, boxes), contents(masks, boxes), contents(maps, boxes), steps
        )


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """A module in evaluation mode and without gradients; afterwards each part is as it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
