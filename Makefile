PYTHON ?= python3
VENV ?= .venv
# The set we test with; `make setup CONSTRAINTS=` takes the newest release of everything instead.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check lint types format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*##/ { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment and install everything

$(STAMP): pyproject.toml requirements.txt training/requirements.txt tests/requirements.txt $(wildcard $(CONSTRAINTS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[training,dev]" $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
	@touch $@

# Threads that wait asleep: where other programs keep the cores busy, it is ten times as fast.
demo: setup ## Set up, and make sound for a clip and two prompts with the bundled model
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m training.demo

test: setup ## Set up and run the tests
	$(BIN)/python -m pytest

lint: setup ## Lint and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check the types
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test ## All that the continuous integration checks

format: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
