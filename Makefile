# make run    sets up .venv and runs the whole pipeline      make run PRESET=omniglot-protonet-5w1s
# make test   sets up .venv with the test tools and runs the tests; make test-all: those that take minutes, too
# make race   measures this against other libraries, side by side (40 minutes, on a quiet machine)
# make clean  deletes all that the others made
# Everything stays in this folder: .venv, .fewshot, data.

PYTHON ?= python3
PRESET ?=
PYTEST_ARGS ?=
RACE_ARGS ?=
BIN := .venv/bin
# matplotlib else keeps its list of fonts in the home folder.
export MPLCONFIGDIR := $(CURDIR)/.fewshot/matplotlib
# Freed by `make clean`; pip's cache would stay behind in the home folder.
PIP := $(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --constraint requirements.lock

.PHONY: run test test-nightly test-all test-peers race race-quick lint clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile | head -5

run: .venv/.run
	@$(BIN)/fewshot run $(PRESET)

PYTEST := $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: .venv/.test
	@$(PYTEST) -m "not nightly" $(PYTEST_ARGS)

# What survives being killed twenty times, a lost server, a wrong clock; a version rebuilt to the bit.
test-nightly: .venv/.test
	@$(PYTEST) --dist worksteal -m nightly $(PYTEST_ARGS)

test-all: test test-nightly

race: .venv/.race
	@$(BIN)/python -m benchmarks.speed.race $(RACE_ARGS)

race-quick: .venv/.run
	@$(BIN)/python -m benchmarks.speed.guard

# The tests that compute the same with other libraries; `make test` alone skips them.
test-peers: .venv/.test .venv/.race
	@$(BIN)/python -m pytest tests/methods/test_peers.py

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "error: $(PYTHON) can't make .venv; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.venv/.run: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing into .venv (once, a few minutes): 1 of 2, PyTorch with its CUDA libraries ..."
	@$(PIP) torch torchvision
	@echo "Installing into .venv: 2 of 2, Prefect, MLflow, DVC and this project ..."
	@$(PIP) --editable .
	@touch $@

.venv/.test: .venv/.run
	@echo "Installing into .venv: the test tools ..."
	@$(PIP) --editable '.[test]'
	@touch $@

.venv/.race: .venv/.run
	@echo "Installing into .venv: the libraries to race against ..."
	@$(PIP) --editable '.[peers]'
	@touch $@

clean:
	rm -rf .venv .fewshot .dvc/cache .dvc/tmp .dvc/config.local data/*/ build *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
