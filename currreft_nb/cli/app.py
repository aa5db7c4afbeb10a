"""Curr-ReFT experiments from the command line. A mistake of the user is reported in one line, with exit status 1."""

import errno
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from currreft_nb import InputError
from currreft_nb.core.environment import leave_cluster

# Modules that take seconds to import (Papermill, nbconvert, torch) are imported by the command that needs them.
app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

FULL_OR_FORBIDDEN = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The experiment's YAML file, such as params/pocket.yaml.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="An experiment's folder, such as outputs/pocket.")]
repeatable = partial(typer.Option, default_factory=list, show_default=False)
Changes = Annotated[
    list[str], repeatable("--set", metavar="NAME=VALUE", help="Change a value; STEP.NAME for one step.")
]
Only = Annotated[list[str], repeatable("--only", metavar="STEP", help="Only this step, or those of a pattern.")]
Force = Annotated[list[str], repeatable("--force", metavar="STEP", help="Run this step although it is complete.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, metavar="N", help="Up to N steps at once, where they can.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything and show what would be run.")]


@app.callback(help=__doc__)
def prepare() -> None:
    """Remove what would let any command, and the kernels that it starts, wait for other processes."""
    if line := leave_cluster():
        print(line, file=sys.stderr)


@app.command()
def run(file: File, only: Only, force: Force, changes: Changes, jobs: Jobs = 1, dry_run: DryRun = False) -> None:
    """Run an experiment; the same command again continues it. Exit status 0 only if every step is complete."""
    from currreft_nb.running import runner, signals
    from currreft_nb.running.experiment import read_experiment

    read = read_experiment(file, changes)
    if dry_run:
        runner.show_plan(runner.plan(read, only, force), read)
        return
    with signals.stoppable():
        try:
            complete = runner.run(read, only, force, jobs)
        except KeyboardInterrupt:
            signals.ignore_signals()
            print("stopped; the same command continues", file=sys.stderr)
            raise typer.Exit(130) from None
    raise typer.Exit(0 if complete else 1)


@app.command()
def report(
    folder: Folder,
    beside: Annotated[
        Path | None, typer.Option(metavar="OTHER_DIR", help="The folder of a second experiment to compare with.")
    ] = None,
) -> None:
    """Make the report of an experiment's folder again: one HTML page, results.csv and results.json."""
    from currreft_nb.running.build_report import build_report
    from currreft_nb.running.project import display_path

    print(f"report: {display_path(build_report(folder, beside), Path.cwd())}")


@app.command()
def params(
    notebook: Annotated[str, typer.Argument(metavar="NOTEBOOK", help="A notebook's name, such as 04_rl_open.")],
) -> None:
    """List all settings of a notebook: type, default, unit, bounds, what each decides, and its meaning.

    A setting that decides a cost (memory, time, records) may change while a run is stopped: it resumes.
    """
    from currreft_nb.running.notebook_settings import settings_of, settings_rows

    for row in settings_rows(settings_of(notebook)):
        limits = f"  ({row['bounds']})" if row["bounds"] else ""
        unit = f" {row['unit']}" if row["unit"] else ""
        print(f"{row['name']}: {row['type']} = {row['default']}{unit}{limits}  decides the {row['decides']}")
        print(f"    {row['meaning']}")


@app.command()
def formats(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="A format, for its example and its options.")] = "",
) -> None:
    """List the formats of data that can be read, with their options."""
    from currreft_nb.data.look import format_lines

    print("\n".join(format_lines(name)))


@app.command()
def look(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="As in train_sources: 'yolo:pets?split=train'.")],
    data_root: Annotated[Path, typer.Option(metavar="DIR", help="The folder that paths start from.")] = Path(),
    rows: Annotated[int, typer.Option(min=0, metavar="N", help="Rows to read at most; 0 is all.")] = 0,
) -> None:
    """Show what a source yields: questions by task and split, three samples, rejections with file and line.

    Exit status 1 if it yields no question.
    """
    from currreft_nb.data.look import look as look_at
    from currreft_nb.data.look import look_lines

    found = look_at(source, data_root.absolute(), rows)
    print("\n".join(look_lines(found)))
    raise typer.Exit(0 if found.questions else 1)


@app.command()
def doctor() -> None:
    """Check whether this machine is ready, and for what: versions, GPUs, memory, disk, hub. Exit status 1 if not."""
    from currreft_nb.cli.doctor import examine

    rows = examine(Path.cwd())
    width = max(len(what) for what, _, _ in rows)
    for what, finding, fine in rows:
        print(f"{'ok' if fine else '--' if fine is None else 'NO'}  {what:{width}}  {finding}")
    raise typer.Exit(1 if any(fine is False for _, _, fine in rows) else 0)


@app.command()
def rewards(
    samples: Annotated[Path, typer.Argument(metavar="SAMPLES", help="A samples file, such as test_id-open.jsonl.")],
    completions: Annotated[Path, typer.Argument(metavar="COMPLETIONS", help='JSON lines {"id": …, "completion": …}.')],
    model: Annotated[str, typer.Option(help="The model that wrote them: its boxes, its chat template.")] = "",
    max_pixels: Annotated[int, typer.Option(help="The pixel budget of the completions; 0 is the model's own.")] = 0,
    detection_reward: Annotated[str, typer.Option(help="hard, soft or soft_above_threshold.")] = "hard",
) -> None:
    """Score completions of any origin: a JSON line for each with value, format and reason, then the means."""
    from currreft_nb.cli.commands import score_file, score_lines
    from currreft_nb.method.rewards import Rules

    rules, style = Rules(detection=detection_reward), None
    if model:
        from currreft_nb.models.load import read_style

        style = read_style(model, max_pixels)
    rows = score_file(samples, completions, style, rules)
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    print("\n".join(score_lines(rows)), file=sys.stderr)


@app.command()
def preflight(
    file: File,
    changes: Changes,
    only: Only,
    card_gib: Annotated[float, typer.Option(help="GPU memory in GiB; 0 is this machine's largest card.")] = 0.0,
    measure: Annotated[bool, typer.Option("--measure", help="Also load the model and take the largest step.")] = False,
) -> None:
    """Estimate the GPU memory of each training step from shapes, and what fits. Exit status 1 if one does not fit."""
    from currreft_nb.cli import commands
    from currreft_nb.running.experiment import read_experiment

    read = read_experiment(file, changes)
    lines, fits = commands.preflight_lines(read, card_gib or commands.largest_card_gib() or 0.0, only)
    print("\n".join(lines))
    for line in commands.measure_lines(read, only) if measure else ():
        print(line)
    raise typer.Exit(0 if fits else 1)


@app.command()
def probe(
    file: File,
    changes: Changes,
    questions: Annotated[int, typer.Option(min=1, help="Validation questions per task and stage.")] = 25,
    completions: Annotated[int, typer.Option(min=1, help="Answers sampled for each.")] = 8,
) -> None:
    """Sample answers of each untrained model: pass@k per task and stage, and the training that this advises."""
    from currreft_nb.cli import commands
    from currreft_nb.running.experiment import read_experiment

    passes, advice = commands.probe(read_experiment(file, changes), questions, completions)
    shown = passes[passes["k"] == passes["k"].max()].rename(columns={"arm": "model"})
    print(shown.to_string(index=False, float_format="%.2f"))
    for row in advice.to_dict("records"):
        print("\n  ".join([f"{row['arm']}, {row['task']}: {row['meaning']}", *row["evidence"].split("; ")]))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a complete training run.")],
    output: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the merged model.")],
) -> None:
    """Merge a run's adapter into its 16-bit base model, check the result and write a folder for other programs.

    Where the run trained in 4 bit, also report how far the result is from that policy.
    """
    from currreft_nb.cli.commands import export_run

    checks = export_run(run, output)
    shift = checks.pop("shift", None)
    print(f"{output}: " + ", ".join(f"{name} {value:.2g}" for name, value in checks.items()))
    if shift:
        print(
            f"from the policy in 4 bit: KL {shift['kl_per_token']:.2g} nats per token; of {shift['questions']}"
            f" {shift['asked']}, {shift['changed_answers']:.0%} got another greedy answer"
            f" ({shift['changed_completions']:.0%} another completion)"
        )


@app.command()
def benchmark(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder, as `currreft export` writes it.")],
    task: Annotated[str, typer.Argument(metavar="TASK", help="lmms-eval's name of the benchmark, such as ai2d.")],
    limit: Annotated[int, typer.Option(min=0, help="Number of questions to ask; 0 is all.")] = 0,
    tasks_folder: Annotated[Path | None, typer.Option(help="A folder with your own task files.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 1,
) -> None:
    """Run a standard benchmark by lmms-eval, in its own environment (`make bench-env`), on an exported model."""
    from currreft_nb.cli import benchmark as lmms_eval

    made, numbers = lmms_eval.benchmark(folder, task, limit=limit, tasks_folder=tasks_folder, batch_size=batch_size)
    print("\n".join(f"{name}: {value:.4g}" for name, value in numbers.items()) + f"\n{made}")


def main() -> None:
    """Run the command line; a mistake of the user becomes one line on standard error and exit status 1."""
    try:
        app()
    except (InputError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in FULL_OR_FORBIDDEN:
            raise  # a bug, which needs its traceback
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
