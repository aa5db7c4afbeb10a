"""The report's page in a real Chromium, wide and narrow: readable, loading nothing, safe from what it shows."""

import hashlib
import json
import re
import shutil

import pandas as pd
import pytest

from currreft_nb.core.samples import STAGES
from currreft_nb.data.folder import load_samples
from currreft_nb.evaluation.evaluate import evaluate
from currreft_nb.method.prompts import Style, render_answer
from currreft_nb.running.build_report import build_report
from currreft_nb.running.parameters import declarations
from currreft_nb.running.run import Run
from tests.helpers.browser import DESKTOP, PHONE, Watched
from tests.helpers.tiny_project import new_kernel, record

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ARMS = ("base", "sft", "rl", "curr_rl", "curr_reft")
HOSTILE = (
    "<script>window.harmed = 1; alert(1)</script>",
    '<img src=x onerror="window.harmed = 1">',
    "</pre></div></td></tr></table></style></script></body><h1 id='taken'>taken over</h1>",
    "<style>* { display: none !important }</style>",
    "# not a heading\n**not bold** [not a link](javascript:window.harmed=1) $\\href{javascript:alert(1)}{x}$",
    "\x1b[31mred\x1b[0m \u202etxet desrever\u2066 \u200f",
    "<iframe src='https://example.org'></iframe><link rel=stylesheet href='https://example.org/a.css'>",
)
# What a reader sees: every element with text of its own and how large that text is.
SIZES = """() => [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && [...e.childNodes].some(
    n => n.nodeType === Node.TEXT_NODE && n.textContent.trim())).map(e => parseFloat(getComputedStyle(e).fontSize))"""
PICTURES = """() => Promise.all([...document.images].map(async image => {
    await image.decode();
    return [image.naturalWidth, image.clientWidth, image.clientHeight, image.alt];
}))"""
WIDER = """() => [...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect(), scrolls = e.closest('.figure, div[style^="overflow"], pre, table');
    return !scrolls && box.right > window.innerWidth + 1;
}).map(e => e.outerHTML.slice(0, 80))"""
TABLE = """() => [...document.querySelectorAll('h2')].find(h => h.textContent.startsWith('The result in one table'))
    .closest('.cell').nextElementSibling.querySelector('table')"""


def answer_as(arm):
    """Return a function that answers as recorded: later arms are right more often, wrong answers are hostile."""

    def answer(samples):
        return [completion(sample) for sample in samples]

    def completion(sample):
        lot = int.from_bytes(hashlib.sha256(f"{arm} {sample.id}".encode()).digest()[:4])
        if lot % 10 < 2 * ARMS.index(arm):
            return f"<think>seen</think><answer>{render_answer(sample, Style())}</answer>"
        text = "\n".join(HOSTILE)
        if lot % 3 == 0 and arm == ARMS[0] and sample.stage == "open":
            return text + "W" * 1_000_000
        return text if lot % 2 else f"<think>{text}</think><answer>{text}</answer>"

    return answer


@pytest.fixture(scope="module")
def five(project, smoke):
    """Return the folder of an experiment with five arms: real data and trainings, and recorded hostile answers."""
    folder = project / "outputs" / "five"
    for name in ("curate", "sft", "rl_binary", "rl_choice", "rl_open", "reject"):
        shutil.copytree(project / "outputs" / "smoke" / name, folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        values = {name: known.default for name, known in declarations("notebooks/06_evaluation.ipynb").items()}
        values |= {"output": "outputs/five/evaluate", "data": "outputs/five/curate", "arms": list(ARMS)}
        run = Run.start("06_evaluation", values)
        data = run.input("outputs/five/curate", "01_data_curation") / "data"
        samples = [s for split in ("test_id", "test_ood") for stage in STAGES for s in load_samples(data, split, stage)]
        for arm in ARMS:
            evaluate(answer_as(arm), samples, arm, run.folder)
        run.finish({})
        new_kernel()
        shutil.copy(project / "outputs/smoke/evaluate/passes.csv", run.folder)
        build_report(folder)
    return folder


@pytest.fixture(scope="module", params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def seen(request, five, browser):
    """Return the page in a window of this size, everything folded away unfolded, and what was noticed of it."""
    watched = Watched(browser, request.param)
    watched.dialogs = []
    watched.page.on("dialog", lambda dialog: (watched.dialogs.append(dialog.message), dialog.dismiss()))
    watched.page.goto((five / "report.html").as_uri())
    watched.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    yield watched
    watched.page.close()


def test_it_complains_of_nothing_and_asks_for_nothing(seen):
    assert seen.errors == [] and seen.outside() == []


def test_it_never_scrolls_sideways_as_a_whole(seen):
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= seen.page.viewport_size["width"]
    assert seen.page.evaluate(WIDER) == []


def test_every_picture_is_decoded_visible_and_described(seen):
    pictures = seen.page.evaluate(PICTURES)
    assert len(pictures) > 20
    assert all(min(natural, wide, high) > 20 and words for natural, wide, high, words in pictures), pictures


def test_no_text_is_too_small_to_read(seen):
    sizes = seen.page.evaluate(SIZES)
    assert len(sizes) > 500 and min(sizes) >= 12


def test_figures_are_shown_in_the_width_of_the_page_or_scroll_in_their_own_box(seen):
    boxes = seen.page.evaluate("[...document.querySelectorAll('.figure')].map(f => [f.clientWidth, f.scrollWidth])")
    assert len(boxes) > 8 and all(inner <= 1.001 * outer for outer, inner in boxes) == (
        seen.page.viewport_size["width"] == DESKTOP[0]
    )


def test_the_contents_lead_to_every_section(seen):
    targets = seen.page.evaluate("[...document.querySelectorAll('nav a')].map(a => decodeURI(a.hash).slice(1))")
    sections = seen.page.evaluate("[...document.querySelectorAll('main h2')].map(h => h.id)")
    assert targets == sections and len(sections) > 10


def test_hostile_answers_are_text_and_nothing_else(seen):
    text = seen.page.inner_text("main")
    assert seen.dialogs == [] and seen.page.evaluate("window.harmed") is None
    assert seen.page.query_selector("#taken, main script, main iframe, main link, main style, main svg") is None
    for part in (*HOSTILE[:4], "# not a heading\n**not bold** [not a link]", "WWWW"):
        assert part in text, "it is not shown, so nothing is tested"
    assert re.search(r"W … 99\d,\d{3} more characters", text)
    assert not re.search("[\x1b\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


def test_the_page_is_safe_without_the_rule_that_forbids_scripts(five, browser, tmp_path):
    html = (five / "report.html").read_text(encoding="utf-8")
    bare = re.sub(r"<meta http-equiv=.*?>", "", html)
    assert bare != html
    (tmp_path / "bare.html").write_text(bare, encoding="utf-8")
    watched = Watched(browser)
    watched.page.goto((tmp_path / "bare.html").as_uri())
    assert watched.page.evaluate("window.harmed") is None and watched.errors == [] and watched.outside() == []
    watched.page.close()


def test_the_page_is_small_in_spite_of_a_megabyte_in_an_answer(five):
    assert (five / "evaluate" / "records.jsonl").stat().st_size > 5_000_000
    assert (five / "report.html").stat().st_size < 3_000_000
    assert (five / "results.json").stat().st_size < 3_000_000


def test_the_files_next_to_the_page_agree_with_its_table(seen, five):
    rows = seen.page.evaluate(f"[...({TABLE})().rows].map(row => [...row.cells].map(cell => cell.innerText.trim()))")
    table = pd.DataFrame(rows[1:], columns=rows[0])
    assert list(dict.fromkeys(table["arm"])) == list(ARMS)
    whole = json.loads((five / "results.json").read_text(encoding="utf-8"))
    assert whole["columns"].keys() == whole["scores"][0].keys() and all(whole["columns"].values())
    for scores in (pd.read_csv(five / "results.csv"), pd.DataFrame(whole["scores"])):
        chosen = scores[(scores["stage"] == "open") & (scores["measure"] == "correct")]
        names = {"test_id": "in-domain", "test_ood": "out-of-domain"}
        found = {
            (row.arm, row.mode, f"{row.task}, {names[row.split]}"): f"{row.mean:.2f} [{row.low:.2f}, {row.high:.2f}]"
            for row in chosen.itertuples()
        }
        shown = {
            (row["arm"], row["answers"], name): row[name] for _, row in table.iterrows() for name in table.columns[3:]
        }
        assert shown == found


def test_a_second_experiment_is_compared_on_the_questions_that_are_the_same(five, browser, monkeypatch):
    monkeypatch.chdir(five.parents[1])
    page = build_report(five, five.with_name("smoke"))
    watched = Watched(browser, PHONE)
    watched.page.goto(page.as_uri())
    text = watched.page.inner_text("main")
    assert "A second experiment for comparison" in text and "questions are the same, by id and content" in text
    assert {"base · five", "base · smoke", "curr_reft · smoke"} <= set(text.replace("\t", "\n").splitlines())
    assert "smoke minus five, arm by arm" in text
    assert watched.errors == [] and watched.page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    watched.page.close()


def test_an_unfinished_experiment_is_reported_with_what_is_missing(five, browser, monkeypatch):
    monkeypatch.chdir(five.parents[1])
    stopped = shutil.copytree(five, five.with_name("stopped"), ignore=shutil.ignore_patterns("report*", "beside-*"))
    for name, status, error in (("evaluate", "failed", "<b>MemoryError</b>"), ("rl_open", "running", None)):
        changed = record(stopped / name) | {"status": status, "error": error}
        (stopped / name / "run.json").write_text(json.dumps(changed))
    watched = Watched(browser)
    watched.page.goto(build_report(stopped).as_uri())
    text = watched.page.inner_text("main")
    assert "evaluate (06_evaluation) is not complete: <b>MemoryError</b>" in text
    assert "rl_open (04_rl_open) is not complete, stopped or still running" in text
    assert "Fewer than two arms were evaluated" in text and "rl_choice" in text
    watched.page.close()
