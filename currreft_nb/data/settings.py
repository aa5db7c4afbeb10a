"""The settings of data curation: where questions come from, how many there are, and how bad rows are treated."""

from collections.abc import Sequence

from currreft_nb.core.samples import TASKS
from currreft_nb.core.settings import Settings, setting, settings_class


@settings_class
class CurationSettings(Settings):
    """How data is curated; numbers of questions are for each task."""

    train_sources: Sequence[str] = setting(("scenes",), "where training, validation and in-domain test come from")
    ood_sources: Sequence[str] = setting(("scenes",), "where the out-of-domain test comes from")
    pool_sources: Sequence[str] = setting(("scenes",), "where questions for rejection sampling come from")
    data_root: str = setting("", "folder that relative source paths start from; empty is the project")
    tasks: Sequence[str] = setting(TASKS, "tasks to ask; general only tests", choices=TASKS, least=1)
    train_questions: int = setting(300, "open questions per task for training", unit="questions", least=0)
    val_questions: int = setting(50, "open questions per task for validation", unit="questions", least=0)
    test_questions: int = setting(100, "open questions per task and test split", unit="questions", least=0)
    pool_questions: int = setting(200, "questions per task for rejection sampling", unit="questions", least=0)
    max_pixels: int = setting(
        401_408, "larger pictures are resized, and boxes move along; 0 is no limit", unit="pixels", least=0
    )
    on_bad: str = setting("stop", "stop at a bad row, or skip it and list it", choices=("stop", "skip"))
    on_leak: str = setting(
        "stop",
        "a picture both to learn from and to test on: stop, skip its rows in one place, or allow",
        choices=("stop", "skip", "allow"),
    )
    on_giveaway: str = setting(
        "warn",
        "a guesser that never sees the picture is too often right (data.audit): warn, or stop",
        choices=("warn", "stop"),
    )
    giveaway_margin: float = setting(
        0.1, "how far above chance such a guesser may be, by the low end of its 95 % interval", least=0, below=1
    )
    workers: int = setting(0, "processes that read pictures; 0 is one per core", decides="cost", least=0)
    exports: Sequence[str] = setting((), "also write the data in these formats", choices=("curr_reft", "parquet"))
