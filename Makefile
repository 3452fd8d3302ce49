# Everything that a developer does; each target sets up the environment first, once.
#
#   make demo       compose a photograph out of coins, into out/
#   make test       every check and test (slow tests too when CI=true)
#   make test-all   with the slow tests
#   make format     let ruff rewrite what it can

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
PACKAGES := $(wildcard packages/*)
SLOW := $(if $(filter true,$(CI)),,-m "not slow")

.PHONY: demo test test-all check format clean

demo: $(READY)
	$(BIN)/python scripts/demo_material.py out/material
	$(BIN)/diffbmp fit out/material/astronaut.png --stamps out/material/coins \
	    -n 500 --seed 0 --width 256 --output out

test: check
	$(BIN)/python -m pytest $(SLOW)

test-all: check
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(wildcard packages/*/src)

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out dist build .mypy_cache .ruff_cache .pytest_cache

$(READY): constraints.txt requirements-dev.txt $(wildcard packages/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or later is needed; name one with: make PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	    -r requirements-dev.txt $(foreach package,$(PACKAGES),-e $(package))
	touch $@
