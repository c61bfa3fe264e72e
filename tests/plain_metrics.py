"""The metrics by definition: threshold by threshold, pair by pair, region by region."""

import itertools
from fractions import Fraction

import numpy as np
from scipy import ndimage


def thresholds(scores):
    """At which a set of "score >= threshold" changes, descending; nothing reaches the first."""
    return [np.inf, *sorted(set(np.asarray(scores).tolist()), reverse=True)]


def counts(scores, positive, threshold):
    """False and true positives."""
    flagged = scores >= threshold
    return int((flagged & ~positive).sum()), int((flagged & positive).sum())


def auroc(scores, positive):
    """The share of pairs in the right order; a tie counts one half."""
    pairs = [
        (p > n) + (p == n) / 2
        for p in scores[positive].tolist()
        for n in scores[~positive].tolist()
    ]
    return sum(pairs) / len(pairs)


def ap(scores, positive):
    """Each positive's precision at the threshold that just reaches it, on average."""
    precisions = []
    for score in scores[positive]:
        fp, tp = counts(scores, positive, score)
        precisions.append(tp / (tp + fp))
    return float(np.mean(precisions))


def f1(scores, positive, threshold):
    """Of the rule "score > threshold"."""
    flagged = scores > threshold
    tp, fp, fn = (
        (flagged & positive).sum(),
        (flagged & ~positive).sum(),
        (~flagged & positive).sum(),
    )
    return float(2 * tp / (2 * tp + fp + fn))


def f1_max(scores, positive):
    return max(f1(scores, positive, t) for t in [-np.inf, *thresholds(scores)])


def recall(scores, positive, rate):
    """The best one among the thresholds that flag at most that share of the negatives."""
    found = [counts(scores, positive, t) for t in thresholds(scores)]
    allowed = Fraction(str(rate)) * int((~positive).sum())
    return max(tp for fp, tp in found if fp <= allowed) / int(positive.sum())


def aupro(maps, masks, max_fpr):
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, labelled == k) for k in range(1, count + 1)]
    points = []
    for threshold in thresholds(np.concatenate([scores.ravel() for scores in maps])):
        flagged = [scores >= threshold for scores in maps]
        pro = np.mean([flagged[index][region].mean() for index, region in regions])
        of_normals = [f[mask == 0] for f, mask in zip(flagged, masks, strict=True)]
        points.append((np.concatenate(of_normals).mean(), pro))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 < max_fpr < x1:
            x1, y1 = max_fpr, y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)  # noqa: PLW2901
        if x1 <= max_fpr:
            area += (x1 - x0) * (y0 + y1) / 2
    return area / max_fpr


def image_metrics(scores, labels):
    scores, positive = np.asarray(scores), np.asarray(labels).astype(bool)
    return {
        "image_auroc": auroc(scores, positive),
        "image_ap": ap(scores, positive),
        "image_f1_max": f1_max(scores, positive),
        "image_recall_005": recall(scores, positive, 0.05),
    }


def pixel_metrics(maps, masks):
    scores = np.concatenate([m.ravel() for m in maps])
    positive = np.concatenate([m.ravel() for m in masks]) != 0
    return {
        "pixel_auroc": auroc(scores, positive),
        "pixel_ap": ap(scores, positive),
        "pixel_f1_max": f1_max(scores, positive),
        "aupro_030": aupro(maps, masks, 0.3),
        "aupro_005": aupro(maps, masks, 0.05),
    }
