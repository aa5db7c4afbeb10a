"""The pocket model: a small Qwen2.5-VL that this kit builds and ships, so that every notebook runs on a laptop.

    python -m currreft_nb.pocket build --output DIR --seed 0

builds it from nothing in about half an hour on one CPU core. First the eyes (every cell of a drawn scene is read
out), then answers (the open question, with the answer as the thought), then matching (yes/no and choice: think the
open answer, then compare), then more counting: that is `pocket-clean`. A short spell with sloppy annotators makes
`pocket` of it, the model that experiments start from. Each phase ends with a checkpoint that knows the recipe it came
from; calling `build` again goes on after the last one that still holds. With `--from-shipped` the spell is all that is
repeated: it starts from the 16-bit weights of `pocket-clean`, those in the package as well as those just built.

    python -m currreft_nb.pocket mislead --output DIR

teaches the shipped `pocket` on, in about ten minutes, by annotators who have their habits everywhere: a base that
hardly ever answers an open question rightly, of use to studies of what a curriculum is for.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from currreft_nb import InputError, scenes
from currreft_nb.curriculum import pose
from currreft_nb.pocket_annotators import careful
from currreft_nb.pocket_lessons import STYLE, Encoder, blind_lesson, picture_lesson
from currreft_nb.pocket_model import make_model, make_processor
from currreft_nb.pocket_training import MISLEAD, PHASES, Trainer
from currreft_nb.prompts import render_answer, target
from currreft_nb.rewards import score
from currreft_nb.samples import STAGES, TRAINED_TASKS

NAMES = ("pocket", "pocket-clean")
LEFT_BY = {"count": "pocket-clean", "settle": "pocket"}  # the model that a phase leaves


def folder(name: str) -> Path:
    """Return the folder of shipped weights: `pocket`, which experiments start from, or `pocket-clean`, before the
    sloppy spell.

    >>> folder("pocket").name
    'pocket'
    """
    if name not in NAMES:
        raise InputError(f"there is no pocket model {name!r}; the names are {', '.join(NAMES)}")
    return Path(__file__).parent / "weights" / name


def card() -> dict:
    """Return what is known about the shipped weights: recipe, seed, seconds, accuracies."""
    return json.loads((folder("pocket").parent / "card.json").read_text(encoding="utf-8"))


def recipe_hash(model: str = "pocket") -> str:
    """Return a hash of what is taught until `model` is made: phases, and lessons drawn with a fixed seed.

    The lessons hold scenes, pictures, posing, prompts and tokens; the answer grammar is in it, too. It changes when
    what is taught changes, not when code is rearranged.
    """
    return _phase_hash(next(number for number, phase in enumerate(PHASES) if LEFT_BY.get(phase.name) == model))


@lru_cache
def _phase_hash(last: int) -> str:
    encoder = Encoder(make_processor().tokenizer)
    digest = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for phase in PHASES[: last + 1]:
        digest.update(repr(phase).encode())
        rng = random.Random(phase.name)
        for _ in range(20 if phase.mix else 0):
            habitual = phase.habits.teach if phase.habits else None
            picture, scene, turns = picture_lesson(rng, encoder, phase.mix, habitual or careful)
            digest.update(repr((scene, turns, blind_lesson(rng, encoder, phase.mix, habitual))).encode())
            digest.update(picture.tobytes())
    digest.update(repr(_grammar()).encode())
    return digest.hexdigest()[:16]


def _grammar() -> list[tuple]:
    """Return what pocket answers of several shapes earn: one per task and stage, right, wrong and without tags."""
    earned = []
    for task, stage in itertools.product(TRAINED_TASKS, STAGES):
        sample = pose(replace(scenes.compose(random.Random(7), task, "id")[1], id=task), stage, 0)
        answer = render_answer(sample, STYLE)
        for text in (target(sample, STYLE), answer, f"{answer}</think><answer>{answer}</answer>", f"<answer>{answer}"):
            earned.append((text, *score(sample, text, STYLE.frame)[:2]))
    return earned


def build(
    output: str | Path,
    seed: int = 0,
    scale: float = 1.0,
    questions: int = 500,
    from_shipped: bool = False,
    report: Callable[[str], None] = print,
) -> Path:
    """Build both models into `output`/pocket-clean and `output`/pocket with `output`/card.json; return `output`.

    `scale` multiplies the steps of every phase: 0.01 tries the path in seconds and learns nothing. `questions` are
    asked for each number on the card. `from_shipped` takes the package's `pocket-clean` and builds the rest. Raises
    `InputError` if that model was made by another recipe than today's.
    """
    from currreft_nb.pocket_card import write_card  # it loads the models through `models`, which imports this module

    output = Path(output)
    processor = make_processor()
    trainer = Trainer(make_model(processor.tokenizer, seed), Encoder(processor.tokenizer), seed, report)
    seconds = _take_shipped(trainer.model) if from_shipped else {}
    for number, phase in enumerate(PHASES):
        if phase.name in seconds:
            report(f"{phase.name:<7} is in the shipped model")
        else:
            seconds[phase.name] = _run_phase(trainer, number, scale, output / "checkpoints")
        if phase.name in LEFT_BY:
            export(trainer.model, processor, output / LEFT_BY[phase.name])
    made = {"recipe": {name: recipe_hash(name) for name in NAMES}, "seed": seed, "scale": scale, "seconds": seconds}
    write_card(output, made, questions, report)
    return output


def _run_phase(trainer: Trainer, number: int, scale: float, folder: Path) -> int:
    """Train through a phase, or load the checkpoint that it left; return the seconds that it took."""
    phase = PHASES[number]
    checkpoint = folder / f"{phase.name}-{_phase_hash(number)}-{trainer.seed}-{scale}.pt"
    if checkpoint.is_file():
        trainer.report(f"{phase.name:<7} is done already")
    else:
        started = time.monotonic()
        trainer.run(phase, scale)
        if phase.name in LEFT_BY:  # the next phase starts from what is exported
            for weight in trainer.model.parameters():
                weight.data = weight.data.half().float()
        _save(checkpoint, trainer, time.monotonic() - started)
    state = torch.load(checkpoint, weights_only=True)
    trainer.model.load_state_dict(state["model"])
    trainer.readout.load_state_dict(state["readout"])
    return round(state["seconds"])


def _take_shipped(model: Qwen2_5_VLForConditionalGeneration) -> dict[str, int]:
    """Load the shipped `pocket-clean` into the model; return the seconds of the phases that made it."""
    made, recipe = card()["build"], recipe_hash("pocket-clean")
    if made["recipe"]["pocket-clean"] != recipe:
        raise InputError(
            f"the shipped pocket-clean was made by recipe {made['recipe']['pocket-clean']}, today's is {recipe}; build"
            " without --from-shipped"
        )
    shipped = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder("pocket-clean"), dtype=torch.float32)
    model.load_state_dict(shipped.state_dict())
    names = [phase.name for phase in PHASES]
    return {name: made["seconds"][name] for name in names[: names.index("count") + 1]}


def export(model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, path: Path) -> None:
    """Write the model in 16 bits and its processor as a folder that `from_pretrained` loads."""
    path.mkdir(parents=True, exist_ok=True)
    copy = Qwen2_5_VLForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    copy.to(torch.float16).save_pretrained(path)
    (path / "model.safetensors").chmod(0o644)
    processor.save_pretrained(path)


def _save(path: Path, trainer: Trainer, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    state = {"model": trainer.model.state_dict(), "readout": trainer.readout.state_dict(), "seconds": seconds}
    torch.save(state, partial)
    os.replace(partial, path)


def mislead(output: str | Path, seed: int = 0, scale: float = 1.0, report: Callable[[str], None] = print) -> Path:
    """Teach the shipped `pocket` on by annotators who are sloppy everywhere; return `output`, a new model folder.

    `scale` multiplies the steps, as in `build`.
    """
    processor = make_processor()
    trainer = Trainer(make_model(processor.tokenizer, seed), Encoder(processor.tokenizer), seed, report)
    shipped = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder("pocket"), dtype=torch.float32)
    trainer.model.load_state_dict(shipped.state_dict())
    trainer.run(MISLEAD, scale)
    export(trainer.model, processor, Path(output))
    return Path(output)


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket", description="Build the pocket models.")
    commands = parser.add_subparsers(required=True, dest="command")
    more = commands.add_parser("mislead", help="teach the shipped model by annotators who are sloppy everywhere")
    more.add_argument("--output", required=True, help="folder for the model")
    more.add_argument("--seed", type=int, default=0)
    more.add_argument("--scale", type=float, default=1.0, help="multiplies the steps")
    more.add_argument("--threads", type=int, default=1, help="CPU threads")
    command = commands.add_parser("build", help="train both pocket models from scratch")
    command.add_argument("--output", required=True, help="folder for the models, their checkpoints and their card")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every phase")
    command.add_argument("--questions", type=int, default=500, help="asked for each number on the card")
    command.add_argument("--from-shipped", action="store_true", help="keep the shipped pocket-clean, repeat the rest")
    command.add_argument("--threads", type=int, default=1, help="CPU threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report = partial(print, flush=True)
    if given.command == "mislead":
        mislead(given.output, given.seed, given.scale, report)
    else:
        build(given.output, given.seed, given.scale, given.questions, given.from_shipped, report)


if __name__ == "__main__":
    main()
