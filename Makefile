# Every command of the project; `make` alone lists them.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup run test check up down report bench

help: ## list these commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-8s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment from constraints.txt

$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip check
	touch $(READY)

run: setup ## run the whole line on params.yaml and publish what passed
	SLIMLINE_WRAPPER=$$PPID exec $(BIN)/slimline run

test: setup ## run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: setup ## lint, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

up: setup ## start Prefect server and UI, a worker, the S3 server and the deployments
	$(BIN)/python -m flows.services up

down: setup ## stop exactly what `make up` started
	$(BIN)/python -m flows.services down

report: setup ## print where the report is, and open it where there is a browser
	$(BIN)/slimline report

bench: setup ## measure the noise of this machine, on two models of the last run
	$(BIN)/python benchmarks/noise_floor.py $(ARGS)
