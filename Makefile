# Two commands are all a new user needs: `make quickstart` and `make test`. Both set everything up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup quickstart realdata test slow lint clean help

help: ## what can be typed
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

setup: $(VENV)/ready ## build .venv with pairmill and all it needs

$(VENV)/ready: pyproject.toml constraints.txt $(wildcard pipeline/jpeg/csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "pairmill needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 setup" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@# its dependency opencv-python would overwrite opencv-python-headless; there is none for Python 3.13
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps rapidocr-onnxruntime==1.4.4
	touch $@

quickstart: setup ## the whole mill on a small world of drawn scenes: list to checkpoint to report
	$(BIN)/pairmill quickstart

realdata: setup ## curate and train on the Flickr8k photos in $$PAIRMILL_DATA
	$(BIN)/python benchmarks/realdata.py

test: setup ## lint, import contracts and the test suite
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest

slow: setup ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: setup ## ruff, with fixes
	$(BIN)/ruff check --fix .

clean: ## remove what make built
	rm -rf $(VENV) build dist *.egg-info
