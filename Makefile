# Everything a person needs: make demo, make test. Python 3.11+ and make are enough.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test test-slow lint docs bench bench-pictures bench-accelerator clean

help:
	@echo "make demo       train on sample pictures, evaluate, look at labels, export, predict"
	@echo "make test       all tests but the slow ones"
	@echo "make test-slow  the slow ones"
	@echo "make lint       ruff and mypy"
	@echo "make docs       docs/reference.md anew, from the code"
	@echo "make bench      measure the claims, into benchmarks/RESULTS.md; PICTURES=folder of photographs for all"
	@echo "make bench-accelerator PICTURES=folder TORCH=python  training from shards beside timm, on a GPU or TPU"

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
	$(BIN)/hornbeam labels demo/run --most 12
	$(BIN)/hornbeam predict demo/run demo/shapes/star/star-0000.* demo/shapes/circle/circle-0000.* --top 3
	$(BIN)/hornbeam export demo/run --format litert,litert-int8,onnx --out demo/shapes-model
	$(BIN)/hornbeam predict demo/shapes-model demo/shapes/star demo/shapes/cross --out demo/answers.csv
	$(BIN)/hornbeam benchmark demo/shapes-model --seconds 1
	@echo
	@echo "Open the report: $(CURDIR)/demo/run/report.html"
	@echo "Try the model in a browser: $(BIN)/hornbeam serve demo/shapes-model"

# One worker a core: most tests start the real command in a process of its own. Who is done takes tests
# from who is not: else the last files, which are the longest, run on one core alone.
test: $(READY)
	$(BIN)/pytest -m "not slow" -n auto --maxprocesses 4 --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python docs/make_reference.py

# Each script adds its claims to results.jsonl, and claims.py makes the table of them.
bench bench-pictures bench-accelerator: export HORNBEAM_RECORD = $(CURDIR)/benchmarks/results.jsonl

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/feeding.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/loop.py
	$(BIN)/python benchmarks/endurance.py
	$(BIN)/python benchmarks/table.py
	$(BIN)/python benchmarks/near_duplicates.py
	$(BIN)/python benchmarks/judging.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/exporting.py
	$(BIN)/python benchmarks/quantised.py
	$(BIN)/python benchmarks/processes.py
ifdef PICTURES
	$(MAKE) bench-pictures
else
	@echo "make bench PICTURES=folder measures loading, shards and check as well."
endif
	$(BIN)/python benchmarks/claims.py

# TORCH: a Python with timm, and torch for that accelerator.
bench-accelerator: $(READY)
	$(BIN)/python benchmarks/accelerator.py --pictures $(PICTURES) $(if $(TORCH),--torch-python $(TORCH))
	$(BIN)/python benchmarks/claims.py

# Peers that Hornbeam itself does not want: a virtual environment of their own.
PEERS := $(VENV)-peers

bench-pictures: $(READY) $(PEERS)/.ready
	$(BIN)/python benchmarks/loading.py --pictures $(PICTURES) --torch-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/shards.py --pictures $(PICTURES)
	$(BIN)/python benchmarks/evaluating.py --pictures $(PICTURES) --networks mobilenet_v2
	$(BIN)/python benchmarks/evaluating.py --pictures $(PICTURES) --networks resnet50 --count 160 --rounds 2
	$(BIN)/python benchmarks/check.py --pictures $(PICTURES) --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/step.py --torch-python $(PEERS)/bin/python
ifdef WEIGHTS
	$(BIN)/python benchmarks/transfer.py --pictures $(PICTURES) --weights $(WEIGHTS)
	$(BIN)/python benchmarks/labels.py --pictures $(PICTURES) --weights $(WEIGHTS) \
		--peer-python $(PEERS)/bin/python
else
	@echo "WEIGHTS=file of MobileNetV2 without top measures transfer learning as well."
endif
ifdef BUNDLE
	$(BIN)/python benchmarks/answering.py --bundle $(BUNDLE) --pictures $(PICTURES)
	$(BIN)/python benchmarks/serving.py --bundle $(BUNDLE) --pictures $(PICTURES)
else
	@echo "BUNDLE=folder of \`hornbeam export --format keras,litert,onnx,openvino\` measures predicting and serving as well."
endif
	$(BIN)/python benchmarks/claims.py

$(PEERS)/.ready:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet torch==2.13.0 cleanvision==0.3.7 cleanlab==2.9.0 numpy pillow pyyaml safetensors \
		huggingface_hub
	$(PEERS)/bin/pip install --quiet --no-deps timm==1.0.31
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-peers demo build dist .pytest_cache .mypy_cache .ruff_cache
