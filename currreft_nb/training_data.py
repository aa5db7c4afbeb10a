"""A data folder as a Hugging Face data set, for training with TRL or another library.

from currreft_nb import rewards, training_data
rows = training_data.dataset("outputs/notebooks/01_data_curation/data", "train", "binary", loaded.style)
GRPOTrainer(..., train_dataset=rows, reward_funcs=[rewards.accuracy_reward, rewards.format_reward])
"""

import os
from collections.abc import Sequence

from datasets import Dataset, Features, Image, List, Value

from currreft_nb.data.folder import load_samples
from currreft_nb.method import prompts, rewards
from currreft_nb.method.prompts import Style

TEXT = Value("string")
FEATURES = Features(
    {
        "prompt": List({"role": TEXT, "content": List({"type": TEXT, "text": TEXT})}),
        "images": List(Image()),
        **dict.fromkeys(("id", "task", "stage", "answer", "claim", "options", "extra"), TEXT),
        "size": List(Value("int32")),
    }
)


def dataset(
    folder: str | os.PathLike, split: str, stage: str, style: Style, tasks: Sequence[str] | None = None
) -> Dataset:
    """Return the questions of a data folder at one split and stage, of all tasks or those named.

    Columns: `prompt` (messages in the wording and coordinate frame of `style`), `images` (opened when read; [] for a
    text-only question), and the columns that the rewards read, structured values as JSON text. Raises `InputError` like
    `curation.load`.
    """
    samples = load_samples(folder, split, stage, tasks)
    rows = [
        {
            "prompt": prompts.messages(sample, style),
            "images": [sample.image] if sample.image else [],
            **rewards.columns(sample),
        }
        for sample in samples
    ]
    return Dataset.from_list(rows, features=FEATURES)
