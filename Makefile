# Everything sets itself up: a virtual environment with exact versions, made again when they change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all check bench clean

demo: $(READY)  ## train proxies on real text, recommend a mixture, write a report
	$(BIN)/mixopt run configs/quickstart.yaml --out demo

test: $(READY)  ## the fast suite
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-all: $(READY)  ## slow tests too: real training, a wheel in an empty environment
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY)  ## what must pass before a commit: style, types, tests (docs among them)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

bench: $(READY)  ## all benchmarks, quick; CSV on standard output
	@for file in fit_speed demo full_scale noise regmix olmix scale calibration repetition repetition_mixture continual stacking; do $(BIN)/python benchmarks/$$file.py --quick || exit 1; done

clean:
	rm -rf $(VENV) build dist demo *.egg-info

# torch first and alone: asked for exactly, pip takes a CPU build where one is offered.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	touch $(READY)
