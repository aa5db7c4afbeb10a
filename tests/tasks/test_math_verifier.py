"""The verifier: one worker process that computes, can be stopped, and is never mistaken for another question's."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from currreft_nb.tasks import math_verifier

SLOW = "(10^{999})^{(10^{999})}"


def test_an_endless_computation_is_stopped_and_the_next_one_works():
    start = time.perf_counter()
    assert math_verifier.verify("2", SLOW) == "verifier_timeout"
    assert time.perf_counter() - start < math_verifier.WAIT_S
    assert math_verifier.verify("\\sqrt{4}", "2") == "ok"


def test_an_interrupted_question_leaves_no_verdict_behind():
    """As when the user stops a notebook's cell: the late answer must not pass for that of the next question."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    assert math_verifier.verify("1", "1") == "ok"
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            math_verifier.verify("2", SLOW)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert math_verifier.verify("1", "2") == "wrong"


def test_the_time_limit_is_on_computing_not_on_the_clock():
    """A worker that was stopped for longer than the limit, as on a busy machine, still gives its verdict."""
    assert math_verifier.verify("1", "1") == "ok"
    process = math_verifier._worker.process
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(math_verifier.COMPUTE_S + 0.5, os.kill, (process.pid, signal.SIGCONT)).start()
    assert math_verifier.verify("\\sqrt{50}", "5\\sqrt{2}") == "ok"
    assert math_verifier._worker.process is process


def test_one_worker_serves_many_questions_and_threads():
    assert math_verifier.verify("1", "1") == "ok"
    worker, results = math_verifier._worker, []
    ask = lambda n: results.append((n, math_verifier.verify(str(n % 2), "1")))  # noqa: E731
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert math_verifier._worker is worker
    assert all(result == ("ok" if n % 2 else "wrong") for n, result in results), "no answer went to another question"


def test_a_killed_worker_is_replaced():
    assert math_verifier.verify("1", "1") == "ok"
    math_verifier._worker.process.kill()
    math_verifier._worker.process.wait()
    assert math_verifier.verify("1", "1") == "ok"


def test_the_worker_ends_with_its_parent():
    code = "from currreft_nb.tasks import math_verifier as v; v.verify('1', '1'); print(v._worker.process.pid)"
    pid = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_a_script_without_a_main_guard_and_a_foreign_math_module_are_no_trouble(tmp_path):
    """Multiprocessing would run such a script again in the worker; and a math.py in its folder must not be imported."""
    (tmp_path / "math.py").write_text("raise SystemExit('the wrong math')")
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nfrom currreft_nb.tasks.math_verifier import verify\nprint(verify('\\\\sqrt{4}', '2'))"
    )
    answer = subprocess.run([sys.executable, "-P", script], capture_output=True, text=True, cwd=tmp_path)
    assert answer.stdout.split() == ["once", "ok"], answer.stderr


def test_it_works_in_a_notebook(tmp_path):
    """In a kernel `__main__` has no file that a new process could be started from."""
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    source = "from currreft_nb.tasks.math_equality import compare_math\ncompare_math('√12', '2√3')"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert notebook.cells[0].outputs[0]["data"]["text/plain"] == "'ok'"


def test_the_worker_imports_no_torch():
    code = textwrap.dedent("""
        import json, subprocess, sys
        from currreft_nb.tasks import math_verifier
        math_verifier.verify("1", "1")
        maps = open(f"/proc/{math_verifier._worker.process.pid}/maps").read()
        print(json.dumps(["torch" in maps, "torch" in sys.modules, "sympy" in sys.modules]))
    """)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == [False, False, False], "sympy too stays in the worker"


def test_a_worker_that_cannot_start_is_an_error_not_a_score(monkeypatch):
    math_verifier.stop()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="did not start"):
        math_verifier.verify("1", "1")
