# Two commands do everything from a bare machine with Python 3.11 or newer:
#   make study   environment, installation, and the two-minute study
#   make test    environment, installation, and the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# whole studies on rented machines that are lost, and on three nodes: about 10 minutes more, with make cluster-faults
CLUSTERS := tests/test_vast_study.py tests/test_vast_bucket.py tests/test_several_nodes.py

.PHONY: study full test faults cluster-faults presets gpu

study: $(VENV)/.installed
	$(BIN)/python studies/step2_rate.py --quick --resume

full: $(VENV)/.installed
	$(BIN)/python studies/step2_rate.py --resume

# collecting all tests takes ten seconds
HEAVY = $(filter-out $(CLUSTERS),$(shell grep -l mark.heavy tests/test_*.py))

# side by side what computes on one thread; two at a time what takes all processors or waits for processes: files in the
# order of their names, since xdist would begin with those of many tests, and the longest have few
test: $(VENV)/.installed
	$(BIN)/python -m pytest -m "not heavy" $(CLUSTERS:%=--ignore %) --numprocesses auto --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m heavy $(HEAVY) --numprocesses 2 --dist loadfile --no-loadscope-reorder

# every fault many times, about 45 minutes on two idle cores; a part of it: make faults FAULTS='--times 3 "driver killed"'
faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m faults.matrix $(FAULTS)

# every fault of a rented machine against an emulated service, about 25 minutes; a part: make cluster-faults FAULTS='"ray up killed"'
cluster-faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m vast_emulator.matrix $(FAULTS)
	$(BIN)/python -m pytest $(CLUSTERS)

# every preset at its published sizes, a minute or two of one core each; a part of them: make presets PRESETS='cifar10_rot --jobs 2'
presets: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m real_sizes $(PRESETS)

# what only an NVIDIA GPU can say, in at most 8 minutes; writes gpu-report.md and gpu-report.json
gpu: $(VENV)/.installed
	$(BIN)/python tests/gpu/verify.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.12 study")'
	$(PYTHON) -m venv $(VENV)
	@echo 'installing (about 2 minutes; 6 GB on disk, most of it torch)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@
