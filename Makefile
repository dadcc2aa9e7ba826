# Everything a person needs: make demo, make test. Python 3.11+ and make are enough.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test test-slow lint bench bench-pictures clean

help:
	@echo "make demo       train on sample pictures, evaluate, predict, export"
	@echo "make test       all tests but the slow ones"
	@echo "make test-slow  the slow ones"
	@echo "make lint       ruff and mypy"
	@echo "make bench      measure the claims in benchmarks/; PICTURES=folder of photographs for all of them"

# Pinned versions; `constraints.txt` is the one place for them.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Hornbeam needs Python 3.11 or newer; set PYTHON=… to one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,dev]'
	@touch $@

demo: $(READY)
	rm -rf demo
	$(BIN)/hornbeam sample demo/shapes
	$(BIN)/hornbeam train demo/shapes --run demo/run
	$(BIN)/hornbeam evaluate demo/run
	$(BIN)/hornbeam predict demo/run demo/shapes/star/star-0000.* demo/shapes/circle/circle-0000.* --top 3
	$(BIN)/hornbeam export demo/run --format keras,h5 --out demo/export
	@echo
	@echo "Open the report: $(CURDIR)/demo/run/report.html"

# One worker a core: most tests start the real command in a process of its own.
test: $(READY)
	$(BIN)/pytest -m "not slow" -n auto --maxprocesses 4

test-slow: $(READY)
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/feeding.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/endurance.py
	$(BIN)/python benchmarks/table.py
	$(BIN)/python benchmarks/near_duplicates.py
ifdef PICTURES
	$(MAKE) bench-pictures
else
	@echo "make bench PICTURES=folder measures loading, shards and check as well."
endif

# Peers that Hornbeam itself does not want: a virtual environment of their own.
PEERS := $(VENV)-peers

bench-pictures: $(READY) $(PEERS)/.ready
	$(BIN)/python benchmarks/loading.py --pictures $(PICTURES) --torch-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/shards.py --pictures $(PICTURES)
	$(BIN)/python benchmarks/check.py --pictures $(PICTURES) --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/step.py --torch-python $(PEERS)/bin/python
ifdef WEIGHTS
	$(BIN)/python benchmarks/transfer.py --pictures $(PICTURES) --weights $(WEIGHTS)
else
	@echo "WEIGHTS=file of MobileNetV2 without top measures transfer learning as well."
endif

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet torch==2.13.0 cleanvision==0.3.7 numpy pillow pyyaml safetensors \
		huggingface_hub
	$(PEERS)/bin/pip install --quiet --no-deps timm==1.0.31
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers demo build dist .pytest_cache .mypy_cache .ruff_cache
