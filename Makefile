# `make run` and `make test` set everything up by themselves; `make help` lists the rest.

.DEFAULT_GOAL := help
SHELL := /bin/bash
HERE := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
VENV := $(HERE).venv
BIN := $(VENV)/bin
CALLED_FROM := $(PWD)
PYTHON ?= python3
PLAN ?= quick
ADAPTER_TESTS ?= tests/sources tests/exchange/test_garak.py tests/exchange/test_pyrit.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help run setup setup-dev test test-fast test-full lint format lock clean simulate simulate-judged bench-engine bench-statistics bench-judged bench-peers bench-instructions bench-responses bench-judges bench-worlds bench-verify bench-scale bench-store bench-report bench-access fuzz-access docs docs-serve chart test-adapters bench-sources bench-inspect

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' "$(HERE)Makefile"

run: setup ## Evaluate the embedded model: live matrix, decision, signed evidence, report
	@cd "$(HERE)" && ASSAY_CALLED_FROM="$(CALLED_FROM)" "$(BIN)/assay" run $(PLAN) $(ARGS); code=$$?; \
	case $$code in 0|10|20) exit 0;; *) exit $$code;; esac

test: setup-dev ## Lint, types, layers, and all tests
	@cd "$(HERE)" && PATH="$(BIN):$$PATH" $(MAKE) --no-print-directory -f "$(HERE)Makefile" lint
	@cd "$(HERE)" && PATH="$(BIN):$$PATH" pytest -n 2

test-fast: setup-dev ## Tests without the model, the browser and the long simulations
	@cd "$(HERE)" && PATH="$(BIN):$$PATH" pytest -n 2 -m "not model and not browser and not slow"

test-full: setup-dev ## All tests with every repetition (hours): simulations and items that `make test` samples
	@cd "$(HERE)" && PATH="$(BIN):$$PATH" ASSAY_TEST_FULL=1 pytest -n 2

test-adapters: setup-dev ## Tests of the tools that cannot be installed beside Assay, in environments of their own (.venvs)
	@cd "$(HERE)" && PYTHON="$(PYTHON)" scripts/adapters && "$(BIN)/pytest" -q $(ADAPTER_TESTS)

lint: setup-dev ## ruff, strict mypy, import-linter, content lint
	@cd "$(HERE)" && "$(BIN)/ruff" check && "$(BIN)/ruff" format --check && "$(BIN)/mypy" && "$(BIN)/lint-imports"
	@cd "$(HERE)" && "$(BIN)/assay" catalog lint

format: setup-dev ## Format the code
	@cd "$(HERE)" && "$(BIN)/ruff" check --fix && "$(BIN)/ruff" format

simulate: setup-dev ## The full simulation of both error rates through the real pipeline
	@cd "$(HERE)" && "$(BIN)/python" -m tests.simulation.error_rates

simulate-judged: setup-dev ## Both error rates where a judge errs and people confirm, beside the judge's word alone (ARGS="--replicates 200")
	@cd "$(HERE)" && "$(BIN)/python" -m tests.simulation.judged $(ARGS)

bench-engine: setup-dev ## What a trial costs, beside bare clients and installed peers: bench/RESULTS.md
	@cd "$(HERE)" && "$(BIN)/python" -m bench.engine

bench-statistics: setup-dev ## Calls and errors of the gate over 600 cells beside the lower bound: bench/results/statistics.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.statistics

bench-judged: setup-dev ## Calls and people's labels where a judge errs, one cell and whole plan: bench/results/judged.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.statistics.judged $(ARGS)

bench-peers: setup-dev ## Install the peers that bench-engine can run beside Assay (several GB; needs Node.js for one of them)
	@cd "$(HERE)" && "$(BIN)/python" -m bench.peers install

bench-instructions: setup-dev ## Instructions per trial against the bare aiohttp client, under valgrind: where noise hides a change
	@cd "$(HERE)" && "$(BIN)/python" -m bench.instructions

bench-responses: setup-dev ## How well response kinds are told apart, by language; fits the head that the report uses
	@cd "$(HERE)" && "$(BIN)/python" -m bench.responses

bench-judges: setup-dev ## How well the checks that are programs judge hard near-misses, by check and language: bench/results/judges.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.judges

bench-worlds: setup-dev ## What an episode in an agent world costs, beside AgentDojo where it is installed: bench/results/worlds.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.worlds

bench-scale: setup-dev ## Workers on Ray: efficiency, the driver's ceiling and memory, ten million trials reckoned (ARGS="--trials 100000"): bench/results/scale.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.scale $(ARGS)

bench-store: setup-dev ## A run in a file and in PostgreSQL side by side: bench/results/store.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.store

bench-sources: setup-dev ## Playing other tools' samples: what the bridge costs, what drawing saves: bench/results/sources.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.sources

bench-inspect: setup-dev ## Logs of Inspect both ways, 20,000 samples, and a call through it beside HTTP: bench/results/inspect.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.inspect_logs $(ARGS)

bench-verify: setup-dev ## How long it takes to verify a bundle of 100,000 trials: bench/results/verify.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.verify

bench-report: setup-dev ## The white paper's build, and the interactive report of 100,000 trials in Chromium: bench/results/report.json
	@cd "$(HERE)" && "$(BIN)/python" -m bench.report $(ARGS)

bench-access: setup-dev ## The door: requests a second on one core, what it adds, how fast a halt cuts, memory (ARGS="--minutes 60"; ARGS="--peer" measures LiteLLM's proxy as well)
	@cd "$(HERE)" && "$(BIN)/python" -m bench.access $(ARGS)

fuzz-access: setup-dev ## Ten minutes of mutated requests at the gate (ARGS="--minutes 60")
	@cd "$(HERE)" && "$(BIN)/python" -m tests.access.fuzz $(ARGS)

docs: setup-dev ## Build the documentation site into build/docs; warnings are errors
	@cd "$(HERE)" && "$(BIN)/python" -m scripts.docsite $(ARGS)

docs-serve: setup-dev ## The documentation site on this machine, built again at every change
	@cd "$(HERE)" && "$(BIN)/python" -m scripts.docsite --serve $(ARGS)

chart: setup-dev ## Render the Helm chart anew for its tests (needs helm, or pip install helm-python-sdk)
	@cd "$(HERE)" && "$(BIN)/python" scripts/chart tests/deploy/chart

setup: $(VENV)/.ready ## The virtual environment

setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: $(HERE)requirements/run.txt $(HERE)pyproject.toml
	@"$(HERE)scripts/setup" "$(PYTHON)" "$(VENV)" "$(HERE)requirements/run.txt"
	@touch "$@"

$(VENV)/.ready-dev: $(VENV)/.ready $(HERE)requirements/dev.txt
	@"$(HERE)scripts/setup" "$(PYTHON)" "$(VENV)" "$(HERE)requirements/dev.txt"
	@touch "$@"

lock: setup-dev ## Lock the dependencies anew, with hashes
	@cd "$(HERE)" && scripts/lock

clean: ## Remove the virtual environment and caches; runs stay
	@rm -rf "$(VENV)" "$(HERE).mypy_cache" "$(HERE).ruff_cache" "$(HERE).pytest_cache" "$(HERE).hypothesis"
