"""How fast rejection sampling samples and has answers judged.

    python tests/benchmarks/rejection.py [--model pocket] [--questions 48] [--completions 8] [--rounds 3] [--device cpu]

Sampling: completions a second of `generation.answerers.sampler` (many questions and answers at once, each image encoded
once) against plain `model.generate`, one question at a time, on the same model and questions: once with a call for each
completion, once with one call for all completions of a question (`num_return_sequences`). Variants alternate; the clock
is of processor time on the CPU, as the machine may be busy with other things, and of the wall on a GPU. The same number
of tokens a completion is not enforced: both sample at temperature 1 until the end token; tokens a second are printed,
too.

Judging: seconds for verdicts of a real server on 127.0.0.1 that answers after 200 ms, against the least that this
can take, latency x requests / concurrency; the journal on disk is written as in earnest.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from currreft_nb.core.samples import Sample
from currreft_nb.data.scenes import compose
from currreft_nb.endpoints.endpoint import Endpoint
from currreft_nb.generation.answerers import sampler
from currreft_nb.generation.generate import encode, end_tokens, prompt_text
from currreft_nb.models.load import Loaded, load_model
from currreft_nb.rejection.endpoint_judge import judge_over_http

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.helpers.scripted_server import points, say, serving

MAX_NEW_TOKENS = 24
LATENCY_S = 0.2


def plain(loaded: Loaded, samples: list[Sample], completions: int, at_once: int) -> tuple[int, int]:
    """Sample with `model.generate`, one question at a time, `at_once` answers a call; return answers and tokens."""
    tokenizer, ends, tokens = loaded.processor.tokenizer, end_tokens(loaded), 0
    for sample in samples:
        for _ in range(completions // at_once):
            inputs = encode(loaded, [sample], [prompt_text(loaded, sample)])
            with torch.no_grad():
                output = loaded.model.generate(
                    **inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                    num_return_sequences=at_once, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id,
                )  # fmt: skip
            new = output[:, inputs["input_ids"].shape[1] :]
            tokens += int((new != tokenizer.pad_token_id).sum())
            tokenizer.batch_decode(new, skip_special_tokens=True)
    return len(samples) * completions, tokens


def ours(loaded: Loaded, samples: list[Sample], completions: int) -> tuple[int, int]:
    """Sample as notebook 05 does; return completions and tokens."""
    found = sampler(loaded, completions=completions, max_new_tokens=MAX_NEW_TOKENS)(samples)
    return sum(map(len, found)), sum(answer.tokens for answers in found for answer in answers)


def sampling(given: argparse.Namespace) -> None:
    """Measure and print the speed of sampling."""
    loaded = load_model(given.model, device=given.device)
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        each = given.questions // 2
        samples = [s for task in ("general", "math") for s in compose.draw_samples(folder, task, each, "id", 0, "pool")]
        variants = {
            "plain, a call a completion": lambda: plain(loaded, samples, given.completions, 1),
            "plain, a call a question": lambda: plain(loaded, samples, given.completions, given.completions),
            "ours": lambda: ours(loaded, samples, given.completions),
        }
        speeds: dict[str, list[float]] = {name: [] for name in variants}
        ours(loaded, samples[:2], given.completions)  # what is slow only once
        for _ in range(given.rounds):
            for name, variant in variants.items():
                start = clock()
                count, tokens = variant()
                seconds = clock() - start
                speeds[name].append(count / seconds)
                print(f"{name:28} {count / seconds:8.1f} completions/s {tokens / seconds:8.0f} tokens/s", flush=True)
    for name in list(variants)[:2]:
        ratios = [mine / other for mine, other in zip(speeds["ours"], speeds[name])]
        print(f"ours / {name}: {min(ratios):.1f} to {max(ratios):.1f} over {given.rounds} rounds")


def judging() -> None:
    """Measure and print how near judging comes to the least time that it can take."""
    sample = Sample(id="q", task="general", split="pool", source="s", question="Which river?", answer="the Nile")
    command = [sys.executable, __file__, "--serve"]  # a process of its own, as a judge's would be
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        url = server.stdout.readline().strip()
        for concurrency in (8, 32):
            requests = 50 * concurrency
            pairs = [(sample, f"<think>number {i}</think><answer>Nile</answer>") for i in range(requests)]
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
                endpoint = Endpoint(model="m", url=url, concurrency=concurrency)
                verdicts, account = judge_over_http(endpoint, pairs, Path(folder) / "verdicts.jsonl")
            seconds = time.perf_counter() - start
            assert len(verdicts) == account.requests == requests
            ratio = seconds / (LATENCY_S * requests / concurrency)
            print(f"concurrency {concurrency:3}: {seconds:5.2f} s for {requests} verdicts, {ratio:.2f} x the least")
        server.stdin.close()


def serve() -> None:
    """Answer every request after 200 ms with a verdict, until the standard input ends."""
    with serving(lambda asked, n: say(points(), delay_s=LATENCY_S)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--completions", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--serve", action="store_true", help="be the server that judging is measured with")
    given = parser.parse_args()
    if given.serve:
        return serve()
    judging()
    sampling(given)


if __name__ == "__main__":
    main()
