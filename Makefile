# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test fuzz lint man bench bench-judge clean setup
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@command -v git >/dev/null || { echo "git is needed: apt-get install git"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is needed: apt-get install python3-venv"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The main job on the embedded default: nanogpt on the CPU (or the GPUs that are there), no key, no download of data.
demo: $(READY)
	$(BIN)/python -m nanogpt.prepare
	test -d experiments.git || $(BIN)/autoresearchd init
	$(BIN)/autoresearchd run --experiments 12
	@echo; echo "git --git-dir=experiments.git log best, the kept line:"
	git --no-pager --git-dir=experiments.git log --author=autoresearchd@localhost best --format='%h %(trailers:key=Verdict,valueonly,separator=%x2C)  %(trailers:key=Metric,valueonly,separator=%x2C)  %s'

test: $(READY)
	$(BIN)/python -m pytest -n auto

fuzz: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]' || echo "no atheris here: Hypothesis alone"
	FUZZ_MINUTES=10 $(BIN)/python -m pytest tests/attacks/test_fuzz.py --timeout 2400

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)
	$(BIN)/python -m bench.ledger
	$(BIN)/python -m bench.care
	$(BIN)/python -m bench.loop
	$(BIN)/python -m bench.soak
	$(BIN)/python -m bench.memory --folder /dev/shm --experiments 2500
	$(BIN)/python -m bench.fleet
	$(BIN)/python -m bench.rivals
	$(BIN)/python -m bench.thousand
	$(BIN)/python -m bench.warm
	$(BIN)/python -m bench.pins
	$(BIN)/python -m bench.spread
	$(BIN)/python -m bench.sandbox
	$(BIN)/python -m bench.search
	$(BIN)/python -m bench.llm
	$(BIN)/python -m bench.report
	$(BIN)/python -m bench.page

# Both are made from the code; a test compares.
man: $(READY)
	$(BIN)/python -m autoresearchd.cli.manual > docs/autoresearchd.1
	$(BIN)/python -m autoresearchd.cli.keys > docs/program.md

bench-judge: $(READY)
	$(BIN)/python -m bench.judge
	$(BIN)/python -m bench.bisect
	$(BIN)/python -m bench.prune
	$(BIN)/python -m bench.ladder

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
