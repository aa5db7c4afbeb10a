"""The settings of evaluation: how every arm is decoded, and which questions it is asked."""

from collections.abc import Sequence

from currreft_nb.core.samples import SPLITS, STAGES
from currreft_nb.core.settings import setting, settings_class
from currreft_nb.training.settings import Answers, Loading, Seeded


@settings_class
class Decoding(Seeded, Answers):
    """How all arms answer. Sampling is seeded by question, never by batch, so `batch_size` is only a cost."""

    max_new_tokens = 256
    temperature: float = setting(0.0, "sampling temperature; 0 is greedy", least=0)
    batch_size: int = setting(64, "answers decoded at once", unit="answers", decides="cost", least=1)


@settings_class
class EvaluationSettings(Decoding, Loading):
    """Which arms are asked which questions."""

    max_new_tokens = 24
    batch_size = 100
    arms: Sequence[str] = setting(("base", "curr_rl", "curr_reft"), "a name for each entry of start_from")
    start_from: Sequence[str] = setting(
        ("base", "outputs/notebooks/04_rl_open", "outputs/notebooks/05_rejection_sampling"),
        "where each arm comes from: base, runs, their checkpoints, model:NAME, recorded:FILE or http:MODEL@ADDRESS",
    )
    choose_among: Sequence[str] = setting((), "arms of which validation chooses the one that is tested")
    splits: Sequence[str] = setting(("test_id", "test_ood"), "splits to score", choices=SPLITS, least=1)
    stages: Sequence[str] = setting(STAGES, "forms of the questions to score", choices=STAGES, least=1)
    questions: int = setting(100, "questions per task, stage and split", unit="questions", least=1)
    forced: bool = setting(True, "score with the answer format forced, too")
    samples_per_question: int = setting(8, "sampled answers for pass@k; 0 leaves it out", unit="answers", least=0)
    pass_questions: int = setting(25, "questions per task and stage for pass@k", unit="questions", least=0)
