# make stream: install into .venv and forecast the embedded log with the weights that come with the project;
# make demo: install and run the whole road, training included; make test: install and test;
# make fuzz: install and edit every kind of file that is read 500 times at random.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN ?= $(BIN)/python

.PHONY: stream demo test fuzz lint clean

demo: $(INSTALLED)
	$(RUN) tools/simulate_log.py
	$(RUN) tools/build_occupancy.py
	$(RUN) tools/train_teacher.py
	$(RUN) tools/distill_mfd.py
	$(RUN) tools/evaluate.py
	$(RUN) viz/render.py
	@echo "results: runs/demo/report.md, runs/demo/report.json, runs/demo/forecast.png, runs/demo/forecast.gif"

stream: $(INSTALLED)
	$(RUN) tools/realtime_demo.py

test: $(INSTALLED)
	$(BIN)/lint-imports --no-cache
	$(RUN) -m pytest

fuzz: $(INSTALLED)
	PYTHONPATH=tests $(RUN) -m fuzzing 500

$(INSTALLED): pyproject.toml constraints.txt tools/install.sh
	PYTHON=$(PYTHON) sh tools/install.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) runs data/simulated
