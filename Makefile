# Each target makes what it needs, once. Works on a machine that has Python 3.11+, pip and make:
# everything goes into $(VENV), nothing into the system. `make help` lists the targets.

PYTHON ?= python3
# Extra arguments for pip, such as an index that offers PyTorch's CPU builds.
PIP_ARGS ?=
# TORCH=1 installs the one PyTorch version we compare with, and fails the tests without it.
TORCH ?= 0
# Test processes; each uses one thread.
JOBS ?= auto
# Arguments for the program that a target runs: make demo ARGS=--quick
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
# A stamp says which extra of pyproject.toml is installed.
stamp = $(VENV)/.stamp-$(1)
TORCH_STAMP := $(if $(filter 1,$(TORCH)),$(call stamp,torch))
PYTEST := $(RUN) -m pytest -n $(JOBS) --maxprocesses=8 --dist=worksteal \
	$(if $(filter 1,$(TORCH)),--require-torch)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo data test test-all check bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' Makefile
	@echo 'variables: PYTHON=python3.12 PIP_ARGS=... TORCH=1 JOBS=4 ARGS=...; the Makefile says more'

demo: $(call stamp,demo) data ## train a convolutional network on MNIST, and look at the result
	@$(RUN) examples/mnist.py $(ARGS)

data: $(call stamp,runtime) ## fetch the data sets
	@$(RUN) -m inkle.nn.datasets

test: $(call stamp,test) $(TORCH_STAMP) ## run the tests and the code in the docs (TORCH=1: against PyTorch too)
	@$(PYTEST) -m 'not slow and not exhaustive' $(ARGS)

test-all: $(call stamp,test) $(TORCH_STAMP) ## the same with all slow sweeps and fuzzers
	@$(PYTEST) --hypothesis-profile=thorough -o faulthandler_timeout=3600 $(ARGS)

check: $(call stamp,dev) ## formatting, lint, types, layers, sizes; no tests
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(RUN) tools/size.py

bench: $(call stamp,runtime) $(TORCH_STAMP) ## measure what the README claims (TORCH=1: against PyTorch too)
	@$(RUN) benchmarks/run.py $(ARGS)

docs: $(call stamp,test) $(call stamp,docs) ## run the code in the docs and build the site
	@$(RUN) -m pytest -q tests/docs
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo 'docs: open site/index.html'

clean: ## remove the virtual environment and whatever else the tools made
	@rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache

$(VENV)/.stamp-%: pyproject.toml tools/environment.py
	@$(PYTHON) tools/environment.py $(VENV) $* $(PIP_ARGS)
	@touch $@
