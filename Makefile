# make stream: install into .venv and forecast a real street live with the weights that come with the project
# (make stream LOG=simulated: a simulated drive);
# make demo: install and run the whole road, training included; make test: install and test; make test-variants: the
# tests whose outcome differs from processor to processor, in what stands in for other processors; make fuzz: every kind
# of file that is read, edited 500 times at random; make lint: style and imports; make docs: the pages as a site.
# The environment is made with the first Python 3.11, 3.12 or 3.10 on the PATH, or make PYTHON=/path/to/python.
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUN ?= $(BIN)/python
LOG ?= pandaset

.PHONY: stream demo install test test-variants fuzz lint docs clean

demo: $(INSTALLED)
	$(RUN) tools/simulate_log.py
	$(RUN) tools/build_occupancy.py
	$(RUN) tools/train_perception.py
	$(RUN) tools/train_teacher.py
	$(RUN) tools/distill_mfd.py
	$(RUN) tools/evaluate.py
	$(RUN) tools/evaluate.py data.input=lidar
	$(RUN) viz/render.py
	@echo "results: runs/demo/report.md (seen in hindsight), runs/demo/lidar/report.md (from raw sweeps), runs/demo/forecast.png, runs/demo/forecast.gif; to look around in any browser: runs/demo/forecast.html"

stream: $(INSTALLED)
	$(RUN) tools/realtime_demo.py log=$(LOG)

test: $(INSTALLED)
	$(BIN)/lint-imports --no-cache
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-variants: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m chaotic
	OMP_NUM_THREADS=2 $(RUN) -m pytest -m chaotic
	ATEN_CPU_CAPABILITY=default $(RUN) -m pytest -m chaotic
	ATEN_CPU_CAPABILITY=avx2 $(RUN) -m pytest -m chaotic

fuzz: $(INSTALLED)
	PYTHONPATH=tests $(RUN) -m fuzzing 500

lint: $(INSTALLED)
	$(BIN)/lint-imports --no-cache
	$(BIN)/ruff check .

docs: $(INSTALLED)
	$(RUN) -c 'import material, mkdocs, mkdocstrings' 2>/dev/null || \
		$(RUN) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet --site-dir runs/site
	@echo "pages: runs/site/index.html"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt tools/install.sh
	PYTHON='$(PYTHON)' sh tools/install.sh $(VENV)
	touch $@

clean:
	rm -rf $(VENV) runs data/simulated
