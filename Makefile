# make stream: install into .venv and forecast the embedded log with the weights that come with the project;
# make demo: install and run the whole road, training included; make test: install and test; make test-variants: the
# tests whose outcome differs from processor to processor, in what stands in for other processors; make fuzz: every kind
# of file that is read, edited 500 times at random.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN ?= $(BIN)/python

.PHONY: stream demo test test-variants fuzz lint clean

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

test-variants: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m chaotic
	OMP_NUM_THREADS=2 $(RUN) -m pytest -m chaotic
	ATEN_CPU_CAPABILITY=default $(RUN) -m pytest -m chaotic
	ATEN_CPU_CAPABILITY=avx2 $(RUN) -m pytest -m chaotic

fuzz: $(INSTALLED)
	PYTHONPATH=tests $(RUN) -m fuzzing 500

$(INSTALLED): pyproject.toml setup.py constraints.txt tools/install.sh
	PYTHON=$(PYTHON) sh tools/install.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) runs data/simulated
