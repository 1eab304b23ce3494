# Two commands do everything from a bare machine with Python 3.11 or newer:
#   make study   environment, installation, and the two-minute study
#   make test    environment, installation, and the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# whole studies on rented machines that are lost, and on three nodes: about 10 minutes more, with make cluster-faults
CLUSTERS := tests/test_vast_study.py tests/test_vast_bucket.py tests/test_several_nodes.py

# a study is tens of processes, the tests thousands: each would compile the product anew
unexport PYTHONDONTWRITEBYTECODE

.PHONY: study full test faults cluster-faults presets oracles gpu

study: $(VENV)/.installed
	$(BIN)/python studies/step2_rate.py --quick --resume

full: $(VENV)/.installed
	$(BIN)/python studies/step2_rate.py --resume

# wait for an emulated service: a third of a processor while they run, so they run beside what computes
WAITING := tests/test_vast_ray.py tests/test_vast_trip.py tests/test_vast_faults.py tests/test_vast_command.py tests/test_bucket.py
# collecting all tests takes ten seconds
HEAVY = $(filter-out $(CLUSTERS) $(WAITING),$(shell grep -l mark.heavy tests/test_*.py))
PYTEST := $(BIN)/python -m pytest

# side by side what computes on one thread, and beside it, in one process more, what waits; then two at a time what takes
# all processors: files in the order of their names, since xdist would begin with those of many tests, and the longest have few
test: $(VENV)/.installed
	@$(PYTEST) -m heavy $(WAITING) >$(VENV)/waiting.log 2>&1 & waiting=$$!; \
	trap "kill $$waiting" INT TERM; \
	$(PYTEST) -m "not heavy" $(CLUSTERS:%=--ignore %) --numprocesses auto --maxprocesses 8 --dist loadfile; light=$$?; \
	wait $$waiting; waited=$$?; cat $(VENV)/waiting.log; exit $$((light || waited))
	$(PYTEST) -m heavy $(HEAVY) --numprocesses 2 --dist loadfile --no-loadscope-reorder

# every fault many times, about 45 minutes on two idle cores; a part of it: make faults FAULTS='--times 3 "driver killed"'
faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m faults.matrix $(FAULTS)

# every fault of a rented machine against an emulated service, about 25 minutes; a part: make cluster-faults FAULTS='"ray up killed"'
cluster-faults: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m vast_emulator.matrix $(FAULTS)
	$(BIN)/python -m pytest $(CLUSTERS)

# every preset at its published sizes, most in 1 to 15 minutes of one core; a part of them: make presets PRESETS='cifar10_rot --jobs 2'
presets: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m real_sizes $(PRESETS)

# ours against reference implementations, in 15 seconds; writes tests/oracles/measured.md
oracles: $(VENV)/.installed
	PYTHONPATH=tests $(BIN)/python -m oracles

# what only an NVIDIA GPU can say, in at most 8 minutes; writes gpu-report.md and gpu-report.json
gpu: $(VENV)/.installed
	$(BIN)/python tests/gpu/verify.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, {sys.executable} is {v[0]}.{v[1]}; try: make PYTHON=python3.12 study")'
	$(PYTHON) -m venv $(VENV)
	@echo 'installing (about 2 minutes; 6 GB on disk, most of it torch)'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[test]'
	@# what pip compiles on one processor, without the libraries' own tests; a few files are for other Pythons
	@$(BIN)/python -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
	touch $@
