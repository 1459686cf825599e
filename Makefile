# All set-up happens here: a fresh Linux machine needs Python >= 3.11 (with venv) and make, nothing else.
# `make GPU=1 setup` on the GPU PC adds RAPIDS.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
TEST_PROCESSES ?= 2
EXTRAS := train,flows,serve,dev$(if $(GPU),$(comma)gpu)
DEMO_HOME := $(CURDIR)/.demo
STAMP := $(VENV)/.installed$(if $(GPU),-gpu)

.PHONY: help setup setup-servers run test test-gpu chaos fuzz lint format deploy worker bench bench-serving bench-autogluon clean-demo

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 18

setup: $(STAMP) ## virtual environment with everything `make run` and `make test` need

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "catalyst-ml needs Python 3.11 or newer, got %d.%d: set PYTHON=/path/to/python3.11" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 3 GB, a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	@touch $@

setup-servers: setup ## system packages of the test servers: sshd and pgbouncer (as root or with sudo; starts none)
	@bash tests/setup_servers.sh

run: setup ## the whole weekly flow on a simulated market, no GPU and no account needed
	@CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml bars simulate --preset middle --seed 1 --dataset demo
	@CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml train --param dataset=demo; status=$$?; \
	  CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml db stop; exit $$status

test: setup ## lint, types, import contracts, tests; ends with what could not be shown here
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

# Without `make setup` too (`make test-gpu PYTHON=python3`): features need numba-cuda, pandas, pytest and pytest-timeout on a
# bare GPU machine, members PyTorch with CUDA, XGBoost and scikit-learn, the served graph onnx and onnxruntime.
GPU_PYTHON = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

test-gpu: ## everything that needs a CUDA device, on it; fails where there is none
	@CATALYST_REQUIRE_GPU=1 $(GPU_PYTHON) -m pytest --noconftest -W default -m gpu \
	  tests/catalyst_ml/features/test_gpu_on_device.py tests/catalyst_ml/models/test_training_on_device.py

lint: setup ## ruff, mypy and the import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

deploy: setup ## Prefect server, pool gpu-pc, the weekly and the daily deployments
	@PATH="$(CURDIR)/$(BIN):$$PATH" deployments/prefect.sh deploy

worker: setup ## the worker that runs deployed flows on this PC (stays in the foreground)
	@PATH="$(CURDIR)/$(BIN):$$PATH" deployments/prefect.sh worker

chaos: setup ## kill training and evaluation at 30 random moments; the evidence must be that of an undisturbed run
	@$(BIN)/python tests/chaos/run.py --kills 30

bench: setup ## every benchmark in its quick form
	@missed=; for script in benchmarks/[!_]*.py; do echo "== $$script"; \
	  $(BIN)/python $$script --quick || missed="$$missed $$script"; done; \
	  test -z "$$missed" || { echo "goals missed in:$$missed" >&2; exit 1; }

fuzz: setup ## 5,000 odd requests to the signal server: none may end in a 500
	@FUZZ_REQUESTS=5000 $(BIN)/python -m pytest -q tests/catalyst_ml/serving/test_fuzz.py

bench-serving: setup ## the signal server beside MLflow's, in an environment of its own under .cache/
	@$(BIN)/python benchmarks/serving.py --build

bench-autogluon: setup ## AutoGluon beside our models, in an environment of its own under .cache/ (1.1 GB)
	@$(BIN)/python benchmarks/models_autogluon.py --build

clean-demo: ## forget the demo's database, snapshots and reports
	@test ! -d $(DEMO_HOME) || { CATALYST_HOME=$(DEMO_HOME) $(BIN)/catalyst-ml db stop; rm -rf $(DEMO_HOME); }
