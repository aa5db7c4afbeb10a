# make demo | test | lab | lint | bench | clean: each sets up .venv by itself, with the versions of constraints.txt.
# make bench-env: a second environment, .venv-bench, for `currreft benchmark`, with those of constraints-bench.txt.
PYTHON ?= python3
BIN := .venv/bin
SETUP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
# A worker for each core, and whole files for each worker, whose tests share what is dear to make (tests/conftest.py lets
# the longest go first). More than eight workers would end no sooner than the longest file, and want a machine's memory.
WORKERS := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
# As many threads of torch as cores in every worker, kernel and training would fight for the cores.
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: demo test lab lint bench bench-env clean

demo: .venv/installed
	$(BIN)/currreft run params/pocket.yaml

test: .venv/installed-test lint
	$(ONE_THREAD) $(BIN)/python -m pytest $(WORKERS)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/installed
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# Every script of tests/benchmarks at a size that shows something; how long it takes stands in the README.
bench: .venv/installed-test
	$(BIN)/python tests/benchmarks/rewards.py
	$(BIN)/python tests/benchmarks/readers.py
	$(BIN)/python tests/benchmarks/curation.py --images 400 --rows 20000
	$(BIN)/python tests/benchmarks/grpo_step.py --stages binary choice open --rounds 1
	$(BIN)/python tests/benchmarks/rejection.py --rounds 1
	$(BIN)/python tests/benchmarks/forgetting.py --table notebooks/results/pocket_seeds.csv
	$(BIN)/python tests/benchmarks/pocket_study.py --table notebooks/results/pocket_study.csv
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
