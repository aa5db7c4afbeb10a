"""Build the pocket model: a small Qwen2.5-VL that ships with this kit, so that every notebook runs on a laptop.

    python -m currreft_nb.pocket.build --output DIR --seed 0

builds it in about half an hour on one CPU core. The phases teach perception (every cell of a drawn scene is read out),
open answers (with the answer as the thought), yes/no and choice (think the open answer, then compare), and more
counting: that is `pocket-clean`. Further phases with sloppy annotators make `pocket` of it, the base of experiments.
Each phase leaves a checkpoint with the hash of its recipe; calling `build` again resumes after the last valid one. With
`--from-shipped` only the sloppy phases run, on the 16-bit weights of the package's `pocket-clean`.
"""

import argparse
import hashlib
import itertools
import random
import time
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from transformers import Qwen2_5_VLForConditionalGeneration as Model
from transformers import Qwen2_5_VLProcessor

from currreft_nb import InputError
from currreft_nb.core.files import atomic_write
from currreft_nb.core.samples import STAGES
from currreft_nb.data.scenes import compose
from currreft_nb.method.curriculum import pose
from currreft_nb.method.prompts import render_answer, target
from currreft_nb.method.rewards import score
from currreft_nb.models.weights import POCKETS, pocket_card, pocket_folder
from currreft_nb.pocket.annotators import careful
from currreft_nb.pocket.card import write_card
from currreft_nb.pocket.lessons import STYLE, TAUGHT, Encoder, blind_lesson, picture_lesson
from currreft_nb.pocket.network import make_model, make_processor
from currreft_nb.pocket.recipe import PHASES, Report, Trainer

LEFT_BY = {"count": "pocket-clean", "hide": "pocket"}  # the model exported after a phase


def recipe_hash(model: str = "pocket") -> str:
    """Return a hash of the recipe up to `model`: its phases, and lessons drawn with a fixed seed.

    The lessons cover scenes, pictures, posing, prompts and tokens; the answer grammar is hashed as well. Rearranged
    code leaves the hash unchanged.
    """
    return _phase_hash(next(number for number, phase in enumerate(PHASES) if LEFT_BY.get(phase.name) == model))


@lru_cache
def _phase_hash(last: int) -> str:
    encoder = Encoder(make_processor().tokenizer)
    digest = hashlib.sha256(encoder.tokenizer.backend_tokenizer.to_str().encode())
    for phase in PHASES[: last + 1]:
        digest.update(repr(phase).encode())
        if not phase.mix:
            continue
        rng = random.Random(phase.name)
        habitual = phase.habits.teach if phase.habits else None
        for _ in range(20):
            picture, scene, turns = picture_lesson(rng, encoder, phase.mix, habitual or careful)
            digest.update(repr((scene, turns, blind_lesson(rng, encoder, phase.mix, habitual))).encode())
            digest.update(picture.tobytes())
    digest.update(repr(_grammar()).encode())
    return digest.hexdigest()[:16]


def _grammar() -> list[tuple]:
    """Return the scores of pocket answers of several forms: right, wrong and without tags, for each task and stage."""
    earned: list[tuple] = []
    for task, stage in itertools.product(TAUGHT, STAGES):
        sample = pose(replace(compose.compose(random.Random(7), task, "id")[1], id=task), stage, 0)
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
    report: Report = print,
) -> Path:
    """Build both models into `output`/pocket-clean and `output`/pocket with `output`/card.json; return `output`.

    `scale` multiplies the steps of every phase: 0.01 tests the code in seconds and learns nothing. `questions`: asked
    for each number on the card. `from_shipped`: start from the package's `pocket-clean`. Raises `InputError` if that
    model's recipe is not today's.
    """
    output = Path(output)
    trainer, processor = start(seed, report)
    seconds = _take_shipped(trainer.model) if from_shipped else {}
    for number, phase in enumerate(PHASES):
        if phase.name in seconds:
            report(f"{phase.name:<7} is in the shipped model")
        else:
            seconds[phase.name] = _run_phase(trainer, number, scale, output / "checkpoints")
        if phase.name in LEFT_BY:
            export_pocket(trainer.model, processor, output / LEFT_BY[phase.name])
    made = {"recipe": {name: recipe_hash(name) for name in POCKETS}, "seed": seed, "scale": scale, "seconds": seconds}
    write_card(output, made, questions, report)
    return output


def start(seed: int, report: Report) -> tuple[Trainer, Qwen2_5_VLProcessor]:
    """Return the trainer of a new model, and its processor."""
    processor = make_processor()
    return Trainer(make_model(processor.tokenizer, seed), Encoder(processor.tokenizer), seed, report), processor


def _run_phase(trainer: Trainer, number: int, scale: float, checkpoints: Path) -> int:
    """Train through a phase, or load its checkpoint; return the seconds that its training took."""
    phase = PHASES[number]
    checkpoint = checkpoints / f"{phase.name}-{_phase_hash(number)}-{trainer.seed}-{scale}.pt"
    if checkpoint.is_file():
        trainer.report(f"{phase.name:<7} is done already")
    else:
        started = time.monotonic()
        trainer.run(phase, scale)
        if phase.name in LEFT_BY:  # the next phase starts from the exported 16-bit weights
            for weight in trainer.model.parameters():
                weight.data = weight.data.half().float()
        parts = {"model": trainer.model.state_dict(), "readout": trainer.readout.state_dict()}
        checkpoints.mkdir(parents=True, exist_ok=True)
        with atomic_write(checkpoint, "wb") as stream:
            torch.save({**parts, "seconds": time.monotonic() - started}, stream)
    state = torch.load(checkpoint, weights_only=True)
    trainer.model.load_state_dict(state["model"])
    trainer.readout.load_state_dict(state["readout"])
    return round(state["seconds"])


def _take_shipped(model: Model) -> dict[str, int]:
    """Load the shipped `pocket-clean` into the model; return the seconds of its phases."""
    made, recipe = pocket_card()["build"], recipe_hash("pocket-clean")
    if (old := made["recipe"]["pocket-clean"]) != recipe:
        raise InputError(f"pocket-clean was built by recipe {old}, not {recipe}; build without --from-shipped")
    load_weights(model, "pocket-clean")
    names = [phase.name for phase in PHASES]
    return {name: made["seconds"][name] for name in names[: names.index("count") + 1]}


def load_weights(model: Model, name: str) -> None:
    """Load the 16-bit weights of a shipped model."""
    model.load_state_dict(Model.from_pretrained(pocket_folder(name), dtype=torch.float32).state_dict())


def export_pocket(model: Model, processor: Qwen2_5_VLProcessor, path: Path) -> None:
    """Write the model in 16 bits and its processor as a folder that `from_pretrained` loads."""
    path.mkdir(parents=True, exist_ok=True)
    copy = Model(model.config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    copy.to(torch.float16).save_pretrained(path)
    (path / "model.safetensors").chmod(0o644)
    processor.save_pretrained(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m currreft_nb.pocket.build", description="Build the pocket models.")
    parser.add_argument("--output", required=True, help="folder for the result")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the steps of every phase")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--questions", type=int, default=500, help="asked for each number on the card")
    parser.add_argument("--from-shipped", action="store_true", help="keep the shipped pocket-clean, repeat the rest")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    report = partial(print, flush=True)
    build(given.output, given.seed, given.scale, given.questions, given.from_shipped, report)


if __name__ == "__main__":
    main()
