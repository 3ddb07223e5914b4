# make demo    set up a fresh clone and run the main job         make test      everything a newcomer needs
# make bench   compare with the bare loop, write JSON            make test-all  the slow scenarios and the browser too
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-all lint bench fuzz processes clean

PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check install --quiet --constraint constraints.txt
RINGFORT := $(VENV)/bin/ringfort
FREE := $(shell nproc 2>/dev/null || echo 2)

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.stamp-run  ## a virtual environment that runs everything

setup-dev: $(VENV)/.stamp-dev  ## the same with the tools that test it

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp-run: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[torch,data,privacy]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.stamp-run

demo: setup  ## fetch Fashion-MNIST, attack a federation behind four walls, write the report
	$(RINGFORT) data fetch fashion-mnist
	$(RINGFORT) drill recipes/fashion.toml --out runs/fashion-drill

lint: setup-dev  ## ruff, mypy strict, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

test: lint  ## lint, then unit, property, vector, conformance, scenario and typing tests, and doctests
	$(VENV)/bin/pytest -n $(FREE)

test-all: lint  ## all of that, and the slow scenarios on full-size data and in a browser
	$(RINGFORT) data fetch fashion-mnist
	$(VENV)/bin/pytest -n $(FREE) -m 'slow or not slow' -rs

bench: setup-dev  ## rounds, rules, seals, noise and the red team beside their floors, and peers if installed
	$(RINGFORT) data fetch fashion-mnist
	$(VENV)/bin/python -m benchmarks.rounds --out runs/bench-rounds.json
	$(VENV)/bin/python -m benchmarks.aggregate --out runs/bench-aggregate.json
	$(VENV)/bin/python -m benchmarks.memory --out runs/bench-memory.json
	$(VENV)/bin/python -m benchmarks.secagg_masked --out runs/bench-masked.json
	$(VENV)/bin/python -m benchmarks.secagg_shared --out runs/bench-shared.json
	$(VENV)/bin/python -m benchmarks.secagg_encrypted --out runs/bench-encrypted.json
	$(VENV)/bin/python -m benchmarks.privacy --out runs/bench-privacy.json
	$(VENV)/bin/python -m benchmarks.redteam --out runs/bench-redteam.json
	$(VENV)/bin/python -m benchmarks.wire --out runs/bench-wire.json
	$(VENV)/bin/python -m benchmarks.watch cost --out runs/bench-watch.json
	$(VENV)/bin/python -m benchmarks.backdoors --seeds 1 --out runs/bench-backdoors.json
	$(VENV)/bin/python -m benchmarks.sanitise images --quick --out runs/bench-sanitise.json
	$(VENV)/bin/python -m benchmarks.model_audit --out runs/bench-model-audit
	$(VENV)/bin/python -m benchmarks.engine_nvflare --out runs/bench-engine-nvflare.json
	$(VENV)/bin/python -m benchmarks.engine_flower --out runs/bench-engine-flower.json
	$(VENV)/bin/python -m benchmarks.crash --trials 200 --out runs/bench-crash.json
	$(VENV)/bin/python -m benchmarks.soak --out runs/bench-soak.json

fuzz: setup-dev  ## coverage-guided fuzzing of every parser and every message of a sealed round, a million inputs
	$(PIP) --editable '.[fuzz]'
	$(VENV)/bin/python -m benchmarks.fuzz --runs 45000 --out runs/fuzz

processes: setup-dev  ## real processes on NVFlare: the same models as in one process, kill -9, Ctrl-C
	$(VENV)/bin/pytest -m slow tests/scenario/test_up.py

clean:  ## forget the environment and every result
	rm -rf $(VENV) runs build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
