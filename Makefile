# make demo | test | lab | lint | docs | bench | clean: each first installs .venv with the versions in constraints.txt.
# make bench-env: installs .venv-bench, for `currreft benchmark`, with the versions in constraints-bench.txt.
PYTHON ?= python3
BIN := .venv/bin
SETUP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# One worker per core; each gets whole test files, because tests in a file share expensive fixtures (tests/conftest.py
# starts the longest first). More than eight workers finish no sooner than the longest file, and need more memory.
WORKERS := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# With one torch thread per core in every worker, kernel and training, processes would compete for the cores.
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: demo test lab lint docs bench bench-env clean

demo: .venv/installed
	$(BIN)/currreft run params/pocket.yaml --jobs 2

test: .venv/installed-test lint
	$(ONE_THREAD) $(BIN)/python -m pytest $(WORKERS)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/installed
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# Rewrites the generated parts of the README files.
docs: .venv/installed-test
	$(BIN)/python tests/helpers/docs.py

# Every script of tests/benchmarks at a small size; tests/README.md says how long it takes.
bench: .venv/installed-test
	$(BIN)/python tests/benchmarks/rewards.py
	$(BIN)/python tests/benchmarks/false_pay.py
	$(BIN)/python tests/benchmarks/readers.py
	$(BIN)/python tests/benchmarks/curation.py --images 400 --rows 20000
	$(BIN)/python tests/benchmarks/grpo_step.py --stages binary choice open --rounds 1
	$(BIN)/python tests/benchmarks/rejection.py --rounds 1
	$(BIN)/python tests/benchmarks/forgetting.py --table notebooks/results/pocket_seeds.csv
	$(BIN)/python tests/benchmarks/sparse_map.py --table notebooks/results/sparse_map.csv
	$(BIN)/python tests/benchmarks/arm_scores.py notebooks/results/ablation.csv
	$(BIN)/python tests/benchmarks/losses.py --table notebooks/results/pocket_losses_runs.csv
	$(BIN)/python tests/benchmarks/evaluation.py
	$(BIN)/python tests/benchmarks/pocket_learning.py --seeds 11 12 --steps 5

bench-env: .venv-bench/installed

clean:
	rm -rf .venv .venv-bench outputs build *.egg-info

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "currreft-nb needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(SETUP) --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(SETUP) --editable '.[test]'
	touch $@

.venv-bench/installed: constraints-bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -c constraints-bench.txt lmms-eval decord Levenshtein
	touch $@
