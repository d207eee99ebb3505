PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-all test-slow test-gpu test-newest lint package docs docs-links pictures clean

# Fine-tune a small pretrained MobileNet on handwritten digits: installs everything, downloads neither weights nor data.
quickstart: $(VENV)/installed
	$(BIN)/python -m cnn_jax.train --exp=quickstart
	$(BIN)/python -m cnn_jax.evaluate --checkpoint=runs/quickstart
	@printf '%s\n' '' \
	  'Open runs/quickstart/report.html in a browser. Then try' \
	  '' \
	  '  freeze points side by side' \
	  '    $(BIN)/python -m cnn_jax.sweep --exp=quickstart \' \
	  '      --freeze-until none conv_pw_6 conv_pw_12 head' \
	  '  your own photographs, a folder for each class' \
	  '    $(BIN)/python -m cnn_jax.train --exp=mobilenet_ft \' \
	  '      --data.dataset=folder:photos' \
	  '  where a network looks' \
	  '    $(BIN)/python -m cnn_jax.explain --checkpoint=runs/mobilenet_ft photo.jpg'

# Tests on real photographs and weights need the folders CNN_JAX_TEST_DATA and CNN_JAX_TEST_WEIGHTS.
# Two at a time: most of a test is compiling, which takes one core. Python keeps what it compiles, also where the
# environment says otherwise: the hundreds of processes that tests start would each compile the package.
export PYTHONDONTWRITEBYTECODE :=

# XLA optimises little in these two: the step of a small network compiles in half of the time, and its arithmetic stays
# what it is. Tests marked `optimized`, whose time is the arithmetic, compile as users do.
test test-all: export JAX_DISABLE_MOST_OPTIMIZATIONS := 1

# A sample of every module's behaviour, in minutes.
test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not long and not slow" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The rest: more cases, real trainings, kills, several processes.
test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "long and not slow" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# A hundred kills, a hundred thousand files.
test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow -n 2 $(PYTEST_ARGS)

# What holds on a GPU or TPU too. Operations there add in any order unless told otherwise. With PYTHON_GPU=python3 in a
# Python that has JAX for the accelerator, it needs no TensorFlow.
PYTHON_GPU ?= $(BIN)/python
test-gpu:
	XLA_FLAGS="$(XLA_FLAGS) --xla_gpu_deterministic_ops=true" $(PYTHON_GPU) -m pytest -m "accelerator and not slow" $(PYTEST_ARGS)

# The newest releases of all dependencies, in an environment of their own. PYTHON=python3.13: JAX's newest are not made
# for 3.11.
NEWEST := .venv-newest
test-newest:
	rm -rf $(NEWEST)
	$(MAKE) VENV=$(NEWEST) $(NEWEST)/installed-test
	@printf '%s\n' 'not the newest, since another package or pyproject.toml holds it back:'
	$(NEWEST)/bin/python -m pip list --outdated
	$(MAKE) VENV=$(NEWEST) test

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnn_jax needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[tensorflow]'
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps 'tf_keras>=2.20' # it asks for `tensorflow`, which tensorflow-cpu stands in for
	touch $@ $(VENV)/installed

# The package, built and used away from the sources; PACKAGE_PYTHON=python3.13 installs it into that one.
PACKAGE_PYTHON ?= $(BIN)/python
package: $(VENV)/installed-test
	$(BIN)/python tools/check_package.py --python=$(PACKAGE_PYTHON) $(PACKAGE_ARGS)

# The site, in site/html/index.html. A warning, a broken link inside of it, or a file from the network is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -c docs -d site/doctrees . site/html
	$(BIN)/python tools/check_site.py site/html

# Links that lead out of the site; needs the network.
docs-links: $(VENV)/installed-docs
	$(BIN)/python -m sphinx --quiet -b linkcheck -c docs -d site/doctrees . site/links

# Every picture of the documents.
pictures: $(VENV)/installed-test
	$(BIN)/python docs/pictures.py

$(VENV)/installed-docs: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(NEWEST) runs dist site
