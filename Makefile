# make run    build the environment and run the main job on the demo sample
# make test   build the environment and run the tests
# make docs   build the documentation site, strictly
# make results  compare the methods on the test files: docs/results.md, docs/results_details.md, the models' cards
# make exhaustive  the tests that take many minutes: the likelihood fit against scipy, the commands of every page
# make chaos  runs with faults injected: killed workers, schedulers, drivers; hangs; full disks; bad files
# make lint   ruff and mypy          make benchmark   speed of the main job (needs DELPHES=folder of the real samples)
PYTHON  ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
VENV    ?= .venv
OUTPUT  ?= results
DELPHES ?= ../shared/data/delphes
PIP     := $(VENV)/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt
# one line that names the package pip is busy with (mawk, the awk of Debian, would show nothing until pip ends)
PROGRESS := { n=0; while read -r verb name _; do case $$verb in \
  Collecting) n=$$((n + 1)); printf '\r\033[K  %d packages: %s' $$n "$$name";; \
  Installing) printf '\r\033[K  unpacking';; esac; done; printf '\r\033[K'; }
SHELL   := bash
.SHELLFLAGS := -o pipefail -ec

.PHONY: run test exhaustive lint docs docs-figures benchmark couplings results chaos clean

run: $(VENV)/.installed
	$(VENV)/bin/python -m hhh_coffea.run --fileset demo --methods chi2,chi2+bdt,spanet --output $(OUTPUT) --candidates

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -n 2

exhaustive: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest -m exhaustive

chaos: $(VENV)/.installed-dev
	$(VENV)/bin/python -m tests.chaos

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --site-dir site  # --quiet would hide warnings from strict too

# the figures of README.md and docs/, after a change of the shipped models or of how figures look
docs-figures: $(VENV)/.installed
	$(VENV)/bin/python -m hhh_coffea.run --fileset demo --datasets HHH --methods chi2,chi2+bdt,spanet --overlay-published --output results_docs
	cp results_docs/plots/HHH/reference_purity_efficiency_merged.png docs/figures/hhh_purity_efficiency.png
	$(VENV)/bin/python -m hhh_coffea.display --fileset demo --event 863 --output docs/figures

benchmark: $(VENV)/.installed
	$(VENV)/bin/python benchmarks/main_job.py $(DELPHES)/hhh_train_00.root $(DELPHES)/hhh_train_01.root

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hhh_coffea needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot make a virtual environment; on Debian: apt install python3-venv"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing hhh_coffea into $(VENV) (a few minutes, once)"
	@$(PIP) --editable '.[stats]' | $(PROGRESS)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing what the tests need"
	@$(PIP) --editable '.[dev]' | $(PROGRESS)
	@touch $@

# chi2 and SPANet in a fit of the self-couplings, on the test samples: docs/developers/couplings.md
SCAN = --background-model normsys --scan
couplings: $(VENV)/.installed
	for n in hhh=kappa3=-12:16:41,kappa4=-160:180:35 hh=kappa3=-5:8:27; do \
	  $(VENV)/bin/python -m hhh_coffea run --config docs/examples/couplings_$${n%%=*}.yaml --output results_$${n%%=*} && \
	  $(VENV)/bin/python -m hhh_coffea fit results_$${n%%=*} $(SCAN) $${n#*=} && \
	  $(VENV)/bin/python -m hhh_coffea fit results_$${n%%=*} $(SCAN) $${n#*=} --observable score --output results_$${n%%=*}_score || exit 1; \
	done

results: $(VENV)/.installed
	$(VENV)/bin/python benchmarks/results.py --cards

clean:
	rm -rf $(VENV) results results_docs results_hhh* results_hh* build dist site *.egg-info
