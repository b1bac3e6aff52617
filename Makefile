SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
TORCH_BACKEND ?=
# Programs are started thousands of times by the tests: their bytecode is kept.
export PYTHONDONTWRITEBYTECODE :=
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/trainyard
SKILLS := $(patsubst %/SKILL.md,%,$(wildcard skills/*/SKILL.md))

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak check bench wheel kit clean

help:            ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 18

setup: $(VENV)/.installed  ## create .venv and install what the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	$(UV) pip install -q --compile-bytecode --python $(BIN)/python -c constraints.txt \
		$(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND)) -e '.[skills,train,dev]'
	@ln -sf ../../install/trainyard $(BIN)/trainyard
	@touch $@

demo: setup      ## train a small language model here, kill a rank in mid-run, resume, report
	@$(BIN)/python training/recipes/tiny-lm/demo.py

TEST_PROCESSES ?= 3
test: setup      ## all tests; TEST_PROCESSES=1 one after the other
	$(BIN)/python -m pytest $(if $(filter-out 1,$(TEST_PROCESSES)),-n $(TEST_PROCESSES)) --durations=40 tests

.PHONY: test-fast
test-fast: setup ## what needs no cluster and starts no training: minutes
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --fast tests

KILLS ?= 60
soak: setup      ## KILLS=60 random kills, the resumed runs must equal the uninterrupted ones bit for bit; forked ranks as programs
	FULL_STARTS=1 $(BIN)/python -m pytest tests/training/exact tests/e2e/test_killed_ranks.py tests/e2e/test_cluster_kills.py \
		tests/e2e/test_cluster_deploy.py tests/e2e/test_cluster_heals.py \
		tests/training/test_format_stock.py tests/training/test_train.py tests/training/test_recipe_llama.py
	$(BIN)/python -m tests.training.soak --kills $(KILLS) $(if $(OUTPUT),--output $(OUTPUT))

.PHONY: test-images
test-images: setup  ## as root: builds and runs of images that take longer than the tests' minutes
	FULL_IMAGES=1 $(BIN)/python -m pytest $$(grep --recursive --files-with-matches --include='test_*.py' full_images tests)

.PHONY: recorded
recorded: setup  ## as root: plans, manifests and help texts as they are now, over those in tests/recorded/expected
	$(BIN)/python -m tests.recorded local
	$(BIN)/python -m tests.recorded cluster
	git status --short tests/recorded/expected

.PHONY: fit-scheduler
fit-scheduler: setup  # as root: 200 random situations, `fit` beside the real kube-scheduler
	FIT_SEEDS=200 FIT_REPORT=benchmarks/results/fit-scheduler.md $(BIN)/python -m pytest tests/skills/cluster_manager/test_fit_scheduler.py

check: setup     ## format, lint, types, copies of the kit, shell scripts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory kit-check types
	$(BIN)/shellcheck install.sh install/*.sh .ci/run infrastructure/aws-cli/*.sh skills/*/scripts/*.sh tests/components/cluster/*.sh tests/components/cluster/parts/*.sh

# A cache for each skill: they have modules of the same name, and one cache for all is made anew by each. Some modules of the runtime
# are copied into skills, where they find their siblings without the package.
MYPY := $(BIN)/mypy --cache-dir $(CACHE)/mypy
.PHONY: types types-skills kit-check
types: types-skills
	MYPYPATH=training $(MYPY)/training --always-true IN_TRAINYARD training/trainyard training/train.py training/train_fp8.py
	MYPYPATH=training:training/recipes/fsdp-llama $(MYPY)/llama training/recipes/fsdp-llama/*.py

types-skills: setup
	@set -e; for skill in $(SKILLS); do echo "mypy $$skill"; MYPYPATH=$$skill/src $(MYPY)/$$(basename $$skill) --explicit-package-bases --always-false IN_TRAINYARD $$(find $$skill/src -name '*.py'); done

bench: setup     ## measured side by side with peers, printed as ratios
	$(BIN)/python -m benchmarks

wheel: setup     ## build dist/trainyard-*.whl, the runtime for an image of your own
	@rm -rf build dist/trainyard-*.whl
	@$(UV) build -q --wheel --offline --no-build-isolation --python $(BIN)/python --out-dir dist .
	@rm -rf build
	@ls dist/trainyard-*.whl

kit:             ## copy the shared plumbing into the skills
	@$(PYTHON) tests/kit_copies.py --write

kit-check:
	@$(PYTHON) tests/kit_copies.py

clean:           ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
