# Every command of the project; `make` alone lists them.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup run test check up down report bench bench-faults

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make the virtual environment from constraints.txt

$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip check
	touch $(READY)

run: setup ## run the whole line on params.yaml and publish what passed
	SLIMLINE_WRAPPER=$$PPID exec $(BIN)/slimline run

test: setup ## run the tests, all but the slow ones (SLOW=1: every test, an hour)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -m '$(if $(SLOW),,not slow)' $(ARGS)

check: setup ## lint, types, import contracts, known vulnerabilities of the lock file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python .ci/audit.py constraints.txt

up: setup ## start Prefect server and UI, a worker, the S3 server and the deployments
	$(BIN)/python -m flows.services up

down: setup ## stop exactly what `make up` started
	$(BIN)/python -m flows.services down

report: setup ## print where the report is, and open it where there is a browser
	$(BIN)/slimline report

bench: setup ## measure our families beside the peers' tools: hours (ARGS="--workloads digits --seeds 0": minutes)
	$(BIN)/python benchmarks/peers.py $(ARGS)

bench-faults: setup ## break a running line some 300 times: two hours, goes on where it was (ARGS="--parts state --shares 1": minutes)
	$(BIN)/python benchmarks/faults/every.py $(ARGS)
