# make demo: set up and run the main job. make test: set up and run every test that needs no GPU.
# Needs Python 3.11 or newer, make and git; everything else is installed into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup demo test storms bench bench-real docs docs-links lint lock train-demo clean

setup: $(STAMP)

$(STAMP): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

demo: setup
	$(BIN)/pathlane demo

# Two at a time; then the storms, which kill programs and are kept from all else.
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest -n 2 --dist loadfile -m storm

# Every storm in its long form, and the table of docs/reference/guarantees.md.
storms: setup
	$(BIN)/python -m tests.faults

# Every way of running the model over the same cases, in one table: docs/reference/performance.md. BENCH="--quick" is a
# small run, BENCH=--help says what else there is. A quiet machine is needed for figures that mean anything.
BENCH ?=
bench: setup
	$(BIN)/python -m tests.benchmarks $(BENCH)

# Steps of the engine at the shape of Patho-R1-3B, random weights, beside the memory's bandwidth: 12 GiB, or a GPU.
bench-real: setup
	$(BIN)/python -m tests.benchmarks.real_shape $(BENCH)

# The documents as a site, build/docs/index.html: first the pages that are made from the code. No warning is let pass, and
# so no link inside that leads nowhere.
docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -W --keep-going -n -q -b html docs build/docs

# Whether what the documents point to elsewhere is there. Needs a network.
docs-links: setup
	$(BIN)/sphinx-build -W --keep-going -q -b linkcheck docs build/docs-links

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Locks carry hashes and no index addresses. One for a gateway, one for a worker, one for development.
lock:
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra worker --extra slides --extra stores --extra traces -o requirements-worker.lock
	uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --extra worker --extra slides --extra stores --extra traces --extra embedded --extra demo --extra dicom --extra docs --extra dev -o requirements-dev.lock

# The demonstration checkpoint, from nothing but a seed: under an hour on two cores.
train-demo: setup
	$(BIN)/python -m worker.engine.models.demo train --seed 0 --out worker/engine/models/demo/checkpoint

clean:
	rm -rf $(VENV)
