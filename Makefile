# seedsweep: `make demo` and `make test` do their own set-up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-kinds coverage lint format docs grid dashboard bench clean

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## make .venv and install seedsweep with its test tools

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup  ## the arms on generated seed photographs, then a study of the best one: minutes on 2 cores
	$(BIN)/python -m seedsweep -m +sweep=demo
	$(BIN)/python -m seedsweep +study=demo +experiment=frozen_bn

test: setup  ## the tests
	$(BIN)/python -m pytest -n auto --maxprocesses=4

coverage: setup  ## the tests, and which lines they reach: at least 85 % (slower)
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --cov=seedsweep --cov-report=term --cov-fail-under=85

test-slow: setup  ## the tests that take minutes; its kill campaign alone takes most of an hour
	$(BIN)/python -m pytest -m slow

test-kinds: setup  ## one slow test of each kind: a planted fault, kills, a launcher, CONTRIBUTING
	SEEDSWEEP_KILLS=2+1 $(BIN)/python -m pytest -m slow tests/test_kill_campaign.py \
		'tests/test_diagnosis.py::test_each_fault_in_a_real_run[0-batchnorm]' \
		tests/test_launchers.py::test_joblib_with_a_failing_and_a_killed_job \
		tests/test_contributing.py

lint: setup  ## ruff (lint, format), mypy strict, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## the documentation as a site in site/ (warnings are errors)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/_pages/site_pages.py build/pages
	$(BIN)/zensical build --strict --clean

grid: setup  ## all arms, three seeds (ARGS='data=folder data.root=...')
	$(BIN)/python -m seedsweep -m +sweep=arms $(ARGS)

dashboard: setup  ## TensorBoard and optuna-dashboard on the latest study, else all runs (or DIR=...)
	$(BIN)/python -m seedsweep task=dashboard $(if $(DIR),"dashboard.dir='$(DIR)'") $(ARGS)

bench: setup  ## every promised figure, measured: give it an hour and a quiet machine
	$(BIN)/python benchmarks

clean:  ## remove caches and builds; results stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
