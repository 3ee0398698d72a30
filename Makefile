# Everything a person or a machine does with the project. The set-up is made once, in $(VENV), and
# made again when pyproject.toml or constraints.txt changes.
PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
# Worker processes of the test run; each computes on one thread.
JOBS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
INPUTS := pyproject.toml constraints.txt
PIP_INSTALL := -m pip install --disable-pip-version-check --quiet
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-oldest lint format docs clean
.DELETE_ON_ERROR:

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-demo: $(INPUTS) | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[plot,tabular]"
	@touch $@

$(VENV)/.stamp-test: $(INPUTS) | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[test]"
	@touch $@

$(VENV)/.stamp-docs: $(INPUTS) | $(BIN)/python
	$(BIN)/python $(PIP_INSTALL) -c constraints.txt -e ".[docs]"
	@touch $@

demo: $(VENV)/.stamp-demo  ## learn from mislabelled, long-tailed digits: a table and a picture
	MPLBACKEND=Agg $(BIN)/python examples/plot_01_quickstart.py

lint: $(VENV)/.stamp-test  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.stamp-test  ## let ruff put imports and layout in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## lint, then all tests but the slow ones, doctests and README included
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

test-long: lint  ## every test, with many more random examples; writes docs/_static/reliability_tests.csv
	$(ONE_THREAD) HYPOTHESIS_PROFILE=nightly \
	  $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "slow or not slow" \
	  --junitxml=build/test-long.xml $(PYTEST_ARGS); status=$$?; \
	  $(BIN)/python benchmarks/reliability.py tests build/test-long.xml && exit $$status

# The lower bounds of the core dependencies, made into pins; all else, torch too, as constrained.
OLDEST_PINS := joblib|numpy|pandas|POT|scikit-learn|scipy|skorch|skrub|threadpoolctl|tqdm

$(OLDEST)/.stamp: $(INPUTS)
	$(PYTHON) -m venv $(OLDEST)
	grep -vE '^($(OLDEST_PINS))==' constraints.txt > $(OLDEST)/constraints.txt
	sed -nE 's/^    "($(OLDEST_PINS))>=([0-9.]+)",$$/\1==\2/p' pyproject.toml \
	  >> $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python $(PIP_INSTALL) -c $(OLDEST)/constraints.txt -e ".[test]"
	@touch $@

test-oldest: $(OLDEST)/.stamp  ## the same tests with the oldest scikit-learn, skorch, POT, numpy, ...
	$(OLDEST)/bin/python -m pip list --disable-pip-version-check | grep -E '^($(OLDEST_PINS)|torch) '
	$(ONE_THREAD) $(OLDEST)/bin/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

docs: $(VENV)/.stamp-docs  ## the site, in docs/_build/html; a warning is an error
	$(ONE_THREAD) $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean:  ## remove what was built; the environments stay
	rm -rf build dist docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst
	rm -rf .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
