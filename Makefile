# make demo: install into .venv and run the whole road on the embedded default; make test: install and test.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN ?= $(BIN)/python

.PHONY: demo test lint clean

demo: $(INSTALLED)
	$(RUN) tools/simulate_log.py
	$(RUN) tools/build_occupancy.py
	$(RUN) tools/train_teacher.py
	$(RUN) tools/distill_mfd.py
	$(RUN) tools/evaluate.py
	$(RUN) viz/render.py
	@echo "results: runs/demo/report.md, runs/demo/report.json, runs/demo/forecast.png, runs/demo/forecast.gif"

test: $(INSTALLED)
	$(BIN)/lint-imports --no-cache
	$(RUN) -m pytest

$(INSTALLED): pyproject.toml constraints.txt tools/install.sh
	PYTHON=$(PYTHON) sh tools/install.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) runs data/simulated
