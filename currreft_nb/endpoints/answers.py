"""Let a model at an endpoint answer: a teacher, or a model served locally by vLLM or `transformers serve`.

    answer = endpoint_sampler(endpoint, loaded.style, completions=8, temperature=1.0, max_new_tokens=512, seed=0)
    sample_answers(answer, pool, folder / "answers.jsonl", author=endpoint.name)

Each completion is a request of its own with its own seed, because not all servers accept `n`; some ignore `seed`.
Questions have the same wording as for a local model; images are sent as they are stored. An answer that the model or
the server's filter refuses to give is missing, as one that a fault lost: it is no empty answer, and not a wrong one.
"""

import hashlib
from collections.abc import Callable

from currreft_nb import InputError
from currreft_nb.core.samples import Sample
from currreft_nb.core.stored_answers import Completion
from currreft_nb.endpoints.client import Ask, Unanswered, ask_all
from currreft_nb.endpoints.endpoint import Account, Endpoint, user_message
from currreft_nb.method.prompts import Style, render_question

Request = tuple[int, int]  # which sample, which completion


def endpoint_sampler(
    endpoint: Endpoint,
    style: Style,
    *,
    completions: int,
    temperature: float = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    accounts: list[Account] | None = None,
) -> Callable[[list[Sample]], list[list[Completion | None]]]:
    """Return the endpoint as a function from samples to several answers to each, like `generation.answerers.sampler`.

    `accounts`: the list that gets the account of each call. A missing answer is None, which
    `core.stored_answers.collect_answers` requests again at the next start. Raises `InputError` if none arrived.
    """
    if temperature == 0 and completions > 1:
        raise InputError(f"{completions} greedy completions of one question would be equal; give a temperature above 0")
    options = {"temperature": temperature, "max_completion_tokens": max_new_tokens}
    refused: dict[str, str] = {}  # parameters, as `ask_all` finds them

    def answer(samples: list[Sample]) -> list[list[Completion | None]]:
        found: dict[Request, Completion] = {}
        empty: list[Request] = []  # whose answers ended within the thinking

        async def ask_one(ask: Ask, request: Request) -> Completion:
            row, number = request
            message = user_message(render_question(samples[row], style), samples[row])
            reply = await ask([message], **options, seed=completion_seed(samples[row].id, number, seed))
            if reply.truncated and not reply.text:
                empty.append(request)
            return Completion(reply.whole, reply.tokens, reply.truncated)

        def done(results: list[tuple[Request, Completion | Unanswered]]) -> None:
            for request, result in results:
                if isinstance(result, Unanswered):
                    print(f"no answer to {samples[request[0]].id!r}: {result}", flush=True)
                else:
                    found[request] = result

        requests = [(row, number) for row in range(len(samples)) for number in range(completions)]
        try:
            account = ask_all(endpoint, ask_one, requests, done, refused)
            if accounts is not None:
                accounts.append(account)
        except InputError as error:
            if not found:
                raise
            print(error, flush=True)  # keep what arrived; the next call raises this again
        if empty:
            print(
                f"{len(empty)} of {len(found)} answers of {endpoint.name} are empty: they were cut off at the limit of"
                " tokens, while the model still thought; raise max_new_tokens",
                flush=True,
            )
        return [[found.get((row, number)) for number in range(completions)] for row in range(len(samples))]

    return answer


def completion_seed(sample_id: str, number: int, seed: int) -> int:
    """Return the seed of one completion, independent of the batch; at most 2**31 - 1, as servers require."""
    return int.from_bytes(hashlib.sha256(f"{sample_id} {number} {seed}".encode()).digest()[:4], "big") >> 1
