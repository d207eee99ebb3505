PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow lint clean

# Train a small network on handwritten digits: installs everything, downloads no data.
quickstart: $(VENV)/installed
	$(BIN)/python -m cnn_jax.train --exp=quickstart
	$(BIN)/python -m cnn_jax.evaluate --checkpoint=runs/quickstart

# Run the test suite. Tests on real photographs and weights need the folders CNN_JAX_TEST_DATA and CNN_JAX_TEST_WEIGHTS.
# Two at a time: most of a test is compiling, which takes one core.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow -n 2 $(PYTEST_ARGS)

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnn_jax needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) runs dist
