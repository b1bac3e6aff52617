SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
TORCH_BACKEND ?=
SKILLS := $(patsubst skills/%/SKILL.md,%,$(wildcard skills/*/SKILL.md))

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak check bench kit clean

help:            ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 16

setup: $(VENV)/.installed  ## create .venv and install what the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	$(UV) pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt \
		$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -e '.[skills,train,dev]'
	@touch $@

demo: setup      ## train a small language model here, kill a rank in mid-run, resume, report
	@$(BIN)/python training/recipes/tiny-lm/demo.py

test: setup      ## all tests
	$(BIN)/python -m pytest tests

KILLS ?= 60
soak: setup      ## KILLS=60 random kills; the resumed runs must equal the uninterrupted ones bit for bit
	$(BIN)/python -m tests.training.soak --kills $(KILLS) $(if $(OUTPUT),--output $(OUTPUT))

check: setup     ## format, lint, types, copies of the kit, shell scripts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory kit-check types
	$(BIN)/shellcheck install.sh install/*.sh .ci/run

.PHONY: types kit-check
types: setup
	$(BIN)/mypy training/trainyard
	MYPYPATH=training $(BIN)/mypy training/train.py training/train_fp8.py
	@set -e; for skill in $(SKILLS); do echo "mypy skills/$$skill"; MYPYPATH=skills/$$skill/src $(BIN)/mypy skills/$$skill/src/*.py; done

bench: setup     ## measured side by side with peers, printed as ratios
	$(BIN)/python -m benchmarks

kit:             ## copy the shared plumbing into the skills
	@$(PYTHON) tests/kit_copies.py --write

kit-check:
	@$(PYTHON) tests/kit_copies.py

clean:           ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
