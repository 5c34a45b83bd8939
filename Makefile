# `make demo` and `make test` need nothing but Python 3.10+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test faults check docs bench bench-check clean

help:
	@echo 'make demo [ARGS=--kill]   a real job on a server of its own'
	@echo 'make test                 every test'
	@echo 'make faults [ARGS=--seed] faults done to real servers and workers (about 15 minutes; ARGS=--help)'
	@echo 'make check                format, lint, types, layers'
	@echo 'make docs                 the documentation, into docs/_build'
	@echo 'make bench [ALL=1]        rpqueue beside other queues, into docs/benchmarks (an hour; ARGS=--help)'
	@echo 'make bench-check          the quick part; fails when a goal is missed'
	@echo 'make clean                remove what the above have made'

demo: $(VENV)/.installed-demo
	$(BIN)/python -m rpqueue demo $(ARGS)

test: $(VENV)/.installed-test
	scripts/test $(ARGS)

faults: $(VENV)/.installed-test
	$(BIN)/python -m tests.stress $(ARGS)

check: $(VENV)/.installed-test
	scripts/check

docs: $(VENV)/.installed-docs
	scripts/docs

bench: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks $(if $(ALL),--peers=all) --out docs/benchmarks $(ARGS)

bench-check: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks --quick --check $(ARGS)

clean:
	rm -rf $(VENV) .bench build dist docs/_build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A stamp per set of extras: the second run starts at once, a changed pyproject.toml installs again. Editable, so
# that worker processes started in other directories import this checkout and not a copy of it.
$(VENV)/.installed-demo: EXTRAS := server,cli
$(VENV)/.installed-test: EXTRAS := dev
$(VENV)/.installed-docs: EXTRAS := docs,server,cli
$(VENV)/.installed-%: pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

# Waits for pip, not python: a venv that was interrupted half way has the one and not the other.
$(BIN)/pip:
	$(PYTHON) -m venv $(VENV)
