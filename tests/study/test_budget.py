"""How much methods learn from follows from the study file."""

from pathlib import Path

from daf_pipelines.study.budget import images_seen
from daf_pipelines.study.plan import Study

ROBUSTNESS = Path(__file__).parents[2] / "studies/robustness"


def test_of_steps() -> None:
    """Both phases in batches of 8; DRAEM's 40 steps of 2; nothing of methods without synthesis."""
    found = images_seen(Study.read(ROBUSTNESS))
    assert found == {
        "daf": (100 + 500) * 8,
        "daf_without_cue": (100 + 500) * 8,
        "teacher_student": 600 * 8,
        "draem": 40 * 2,
    }


def test_epochs_are_not_known() -> None:
    study = Study.read(ROBUSTNESS)
    study.methods["daf"]["decoder_training"] = {"unit": "epochs", "length": 3}
    assert set(images_seen(study)) == {"daf_without_cue", "teacher_student", "draem"}
