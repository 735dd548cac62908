# What a newcomer types: make demo, make test. Everything happens in $(VENV); the second time is quick.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench soak services lock clean

VENV ?= .venv
BIN := $(VENV)/bin
# The first interpreter that starts and is new enough. Say PYTHON=/path/to/python to choose one.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# The environment variables of another environment must not leak into ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
# Images often set it, and then every process compiles every library it imports: ten seconds each in a new environment.
unexport PYTHONDONTWRITEBYTECODE
export FULLCIRCLE_WORKSPACE ?= .fullcircle
# Threads that spin while they wait slow everything down on a machine that does more than one thing.
export OMP_WAIT_POLICY ?= PASSIVE

help:  ## these lines
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(VENV)/.project  ## the environment, from the locks, with hashes

$(VENV)/.uv: requirements/uv.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "fullcircle needs Python 3.11 or newer; found: $$("$(or $(PYTHON),python3)" --version 2>&1 || true)."; \
		echo "Install one, or say where it is: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 2; } >&2
	@"$(PYTHON)" -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make an environment. On Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.packages: requirements/dev.txt $(VENV)/.uv
	@echo "installing what requirements/dev.txt pins"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

# Resolving what a bundle needs once puts the index pages that every later lock reads into uv's cache.
$(VENV)/.project: pyproject.toml $(VENV)/.packages
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@printf '%s\n' scikit-learn skops pandas | $(BIN)/uv pip compile --quiet --generate-hashes \
		--python $(BIN)/python --constraint requirements/dev.txt - pyproject.toml >/dev/null
	@touch $@

demo: setup  ## one turn of the circle on 442 real patients
	$(BIN)/fullcircle run examples/diabetes
	@page=$$(ls -t "$(FULLCIRCLE_WORKSPACE)"/pages/*.html 2>/dev/null | head -n 1); \
		test -n "$$page" && echo && echo "The page of this turn, for your browser: $$(realpath "$$page")"

test: setup  ## all tests on two cores (ARGS="-k name" for some)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup  ## style, types, the floors of the house, sizes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/laws/sizes.py

bench: setup  ## the numbers, with peers (ONLY=start for one)
	$(BIN)/python -m benchmarks $(ONLY)

soak: setup  ## many drawn cases of the law of features (CASES=10000); turns killed at random moments (MINUTES=10)
	$(BIN)/python -m benchmarks.soak_cases $(or $(CASES),10000)
	$(BIN)/python -m benchmarks.soak $(or $(MINUTES),10)
	$(BIN)/python -m benchmarks.soak_server
	$(BIN)/python -m benchmarks.soak_monitor
	$(BIN)/python -m benchmarks.soak_loop
	$(BIN)/python -m benchmarks.loop_poison $(or $(SEEDS),5)

services:  ## optional servers and a browser from Debian's packages; tests without them skip
	@bash .ci/services

lock: $(VENV)/.packages  ## pin anew; no index address is written
	$(BIN)/uv pip compile --quiet --upgrade $(LOCKED) --extra lab --extra postgres --extra redis --extra otel --extra xgboost --extra lightgbm --extra onnx --extra jwt --group dev \
		--no-emit-package fullcircle pyproject.toml -o requirements/dev.txt
	awk '/^[^ ]/ { on = /^uv==/ } on' requirements/dev.txt > requirements/uv.txt

clean:  ## everything that make made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
