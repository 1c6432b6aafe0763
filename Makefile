# quickstart: from nothing to a trained, evaluated, reloaded, searchable model on made-up data
# test:       everything, offline, on a CPU; WORKERS=N for N processes at a time
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: quickstart test bench lint clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/python train/quickstart.py --output_dir runs/quickstart

test: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest tests -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

bench: $(VENV)/.installed
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs data *.egg-info
