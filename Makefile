# make demo: install and paint three pictures.  make test: install and check everything.  make help: all targets.
PYTHON ?= python3
VENV ?= .venv
CHROMIUM ?= chromium
BIN := $(VENV)/bin

# PyTorch's threads wait briefly (src/impasto/waiting.py), unless you have set these variables.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 1000
ifndef KMP_LIBRARY
export KMP_BLOCKTIME ?= 1
endif
endif

# Programs that tests start find each module compiled.
unexport PYTHONDONTWRITEBYTECODE

SET_UP := $(VENV)/.set-up

.PHONY: demo test quick lint format types tests browser golden bench docs clean help

demo: $(SET_UP) ## a style transfer, an inversion and an amalgamation of the example pictures, in about two minutes
	$(BIN)/python examples/demo.py demo

test: browser lint types tests ## all checks

lint: $(SET_UP) ## check the style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(SET_UP) ## check the types of the package, strictly
	$(BIN)/mypy

tests: browser $(SET_UP) ## the test suite, with coverage; three workers keep two cores busy while tests wait
	CHROMIUM=$(CHROMIUM) $(BIN)/pytest -q -n 3 --dist loadfile --no-loadscope-reorder --reruns 1 -rR --cov=impasto --cov-report=term:skip-covered

quick: $(SET_UP) ## the tests that take less than a second each: some of every folder in under a minute, without a browser
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

browser:
	@command -v $(CHROMIUM) >/dev/null || { echo "make test opens pages in a browser: install Chromium (Debian: apt install chromium) or give its path, make $(MAKECMDGOALS) CHROMIUM=/path/to/chromium"; exit 1; }

golden: $(SET_UP) ## compare the results of every task, bit for bit, with tests/golden.json; WRITE=--write replaces them
	$(BIN)/python tests/golden.py $(WRITE)

format: $(SET_UP) ## fix the style of the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(SET_UP) ## measure (hours on two cores), and write docs/benchmarks.md
	for each in step_cost memory tiles same_loss inversion style_quality batch busy cluster_tiles make_page; do $(BIN)/python benchmarks/$$each.py || exit 1; done

docs: $(SET_UP) ## write docs/architecture.md, cli.md and presets.md from the code
	$(BIN)/python docs/make_architecture_page.py
	$(BIN)/python docs/make_cli_page.py
	$(BIN)/python docs/make_presets_page.py

clean: ## remove all that the targets made
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* dist

help: ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/:/'

$(SET_UP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "impasto needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
