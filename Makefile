# make demo   set everything up and see an answer
# make test   set everything up, Mosquitto included, and run the tests
# (a worker for each core, so a thread for each of them)
# make lint   style and types        make wheel   build dist/*.whl        make clean

PYTHON ?= python3
VENV ?= .venv
# Anything but empty installs PyTorch as well (a requirement such as torch==2.13.0), for the tests of
# training. It is large, so it is not installed unless asked for.
TORCH ?=
# The question that `make demo` asks.
ASK ?= What is the kitchen temperature?

BIN = $(VENV)/bin
STAMP = $(VENV)/.edgespike

.PHONY: demo test lint wheel clean mosquitto

demo: $(STAMP)-run
	$(BIN)/edgespike demo --ask "$(ASK)"

test: $(STAMP)-test mosquitto
	$(if $(TORCH),$(BIN)/pip install --quiet "$(TORCH)")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(STAMP)-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(STAMP)-test
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "edgespike needs Python 3.11 or later: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP)-run: $(BIN)/python pyproject.toml setup.py
	$(BIN)/pip install --quiet --editable .
	@touch $@

$(STAMP)-test: $(BIN)/python pyproject.toml setup.py
	$(BIN)/pip install --quiet --editable ".[test]"
	@touch $@ $(STAMP)-run

# The tests talk to a real broker. Debian and its relatives get it from their packages.
mosquitto:
	@command -v mosquitto >/dev/null || PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null || { \
	  echo "installing mosquitto, the broker that the tests talk to"; \
	  if [ "$$(id -u)" = 0 ]; then SUDO=; else SUDO=sudo; fi; \
	  $$SUDO apt-get update -qq && \
	  $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq mosquitto mosquitto-clients; \
	} || { echo "install mosquitto and mosquitto-clients by hand, then try again" >&2; exit 1; }
