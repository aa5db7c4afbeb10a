"""The pocket model: a small Qwen2.5-VL that this kit builds and ships, so that every notebook runs on a laptop.

    python -m currreft_nb.pocket build --output DIR --seed 0

builds it from nothing in about half an hour on one CPU core. First the eyes (every cell of a drawn scene is read
out), then answers (the open question, with the answer as the thought), then matching (yes/no and choice: think the
open answer, then compare), then more counting: that is `pocket-clean`. A short spell with sloppy annotators makes
`pocket` of it, the model that experiments start from. Each phase ends with a checkpoint; calling `build` again goes
on after the last one.
"""

import argparse
import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from currreft_nb import InputError
from currreft_nb.pocket_annotators import careful
from currreft_nb.pocket_lessons import Encoder, blind_lesson, picture_lesson
from currreft_nb.pocket_model import make_model, make_processor
from currreft_nb.pocket_training import PHASES, Trainer

NAMES = ("pocket", "pocket-clean")
LEFT_BY = {"count": "pocket-clean", "spell": "pocket"}  # the model that a phase leaves


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


def recipe_hash() -> str:
    """Return a hash of the phases and of lessons drawn with a fixed seed: scenes, posing, prompts, tokens, weights.

    It changes when what is taught changes, not when code is rearranged.
    """
    encoder = Encoder(make_processor().tokenizer)
    digest = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for phase in PHASES:
        digest.update(repr(phase).encode())
        rng = random.Random(phase.name)
        for _ in range(20 if phase.mix else 0):
            habitual = phase.habits.teach if phase.habits else None
            _, scene, turns = picture_lesson(rng, encoder, phase.mix, habitual or careful)
            digest.update(repr((scene, turns, blind_lesson(rng, encoder, phase.mix, habitual))).encode())
    return digest.hexdigest()[:16]


def build(
    output: str | Path,
    seed: int = 0,
    scale: float = 1.0,
    questions: int = 300,
    report: Callable[[str], None] = print,
) -> Path:
    """Build both models into `output`/pocket-clean and `output`/pocket with `output`/card.json; return `output`.

    `scale` multiplies the steps of every phase: 0.01 tries the path in seconds and learns nothing. `questions` are
    asked for each number on the card. A folder with checkpoints of another seed, scale or recipe is refused with
    `InputError`.
    """
    from currreft_nb.pocket_card import write_card  # it loads the models through `models`, which imports this module

    output = Path(output)
    identity = {"recipe": recipe_hash(), "seed": seed, "scale": scale}
    _claim(output, identity)
    processor = make_processor()
    trainer = Trainer(make_model(processor.tokenizer, seed), Encoder(processor.tokenizer), seed, report)
    seconds = {}
    for phase in PHASES:
        checkpoint = output / "checkpoints" / f"{phase.name}.pt"
        if not checkpoint.is_file():
            started = time.monotonic()
            trainer.run(phase, scale)
            _save(checkpoint, trainer, time.monotonic() - started)
        else:
            report(f"{phase.name:<7} is done already")
        state = torch.load(checkpoint, weights_only=True)
        trainer.model.load_state_dict(state["model"])
        trainer.readout.load_state_dict(state["readout"])
        seconds[phase.name] = round(state["seconds"])
        if phase.name in LEFT_BY:
            export(trainer.model, processor, output / LEFT_BY[phase.name])
    write_card(output, {**identity, "seconds": seconds}, questions, report)
    return output


def export(model: Qwen2_5_VLForConditionalGeneration, processor: Qwen2_5_VLProcessor, path: Path) -> None:
    """Write the model in 16 bits and its processor as a folder that `from_pretrained` loads."""
    path.mkdir(parents=True, exist_ok=True)
    copy = Qwen2_5_VLForConditionalGeneration(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    copy.to(torch.float16).save_pretrained(path)
    (path / "model.safetensors").chmod(0o644)
    processor.save_pretrained(path)


def _claim(output: Path, identity: dict) -> None:
    path = output / "checkpoints" / "build.json"
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known != identity:
            raise InputError(f"{path} belongs to another build ({known}, not {identity}); give an empty folder")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(identity), encoding="utf-8")


def _save(path: Path, trainer: Trainer, seconds: float) -> None:
    partial = path.with_suffix(".partial")
    state = {"model": trainer.model.state_dict(), "readout": trainer.readout.state_dict(), "seconds": seconds}
    torch.save(state, partial)
    os.replace(partial, path)


def main() -> None:
    """Read the command line and build."""
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket", description="Build the pocket models.")
    command = parser.add_subparsers(required=True).add_parser("build", help="train both pocket models from scratch")
    command.add_argument("--output", required=True, help="folder for the models, their checkpoints and their card")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every phase")
    command.add_argument("--questions", type=int, default=300, help="asked for each number on the card")
    command.add_argument("--threads", type=int, default=1, help="CPU threads")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    build(given.output, given.seed, given.scale, given.questions, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
