# The commands of the project; `make` alone lists them. ARGS goes to the tool that a command runs.
ARGS :=
VENV := .venv
EXTRAS := samples,baselines,dvc,viz,dev
# Unpinned, torch resolves to a newer build of several gigabytes; torchvision has to match it.
TORCH := torch==2.14.1 torchvision==0.29.1
CACHES := .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .viz

IS_SUPPORTED := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,\
	$(shell $(name) $(IS_SUPPORTED) 2>/dev/null && command -v $(name))))
PIP_INSTALL := -m pip install -qq --no-input --disable-pip-version-check

# Exists only after a set-up that ran to its end.
INSTALLED := $(VENV)/.installed
IN_VENV := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

# Processes of the tests; 0: all in one. Each takes up to 2.5 GiB, and makes its own small projects.
WORKERS := 2

# Real images for the tests that use them; without the folder they are skipped.
DAF_TEST_DATASETS ?= $(realpath ../shared/datasets)

# No tool reports usage to its makers.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true

# Which study, and the folder with its datasets.
STUDY := robustness
DAF_DATASETS ?= $(DAF_TEST_DATASETS)
REPORTING := data/08_reporting

.PHONY: help setup run gallery compare study study-smoke study-report \
	study-docs test check ui viz recipe realism quality lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
	@echo 'Arguments for the tool: make run ARGS="--params seed=1"'

setup: $(INSTALLED) ## Create the environment (the commands below do it by themselves)

run: $(INSTALLED) ## Run the experiment: kedro run
	@$(IN_VENV) kedro run $(ARGS)

gallery: $(INSTALLED) ## Show all synthesis strategies on the dataset's own images
	@$(IN_VENV) kedro run --pipelines data_ingestion,strategy_gallery $(ARGS)

compare: $(INSTALLED) ## Compare the newest runs, or those that ARGS names
	@$(IN_VENV) kedro run --pipelines comparison $(ARGS)

study: $(INSTALLED) ## Run what a study lacks, then read it out: STUDY=robustness (days, resumable)
	@status=0; $(IN_VENV) DAF_DATASETS="$(DAF_DATASETS)" \
		python -m daf_pipelines.study run studies/$(STUDY) $(ARGS) || status=$$?; \
	$(MAKE) --no-print-directory study-report || status=$$?; exit $$status

study-smoke: ## The same for a study of minutes, to see that it works
	@$(MAKE) --no-print-directory study STUDY=smoke

study-report: $(INSTALLED) ## Read a study out as far as it is
	@$(IN_VENV) kedro run --pipelines robustness_study --params study.folder=studies/$(STUDY)

study-docs: study-report ## The same, and copy what git keeps of it to docs/studies
	@mkdir -p docs/studies/$(STUDY)
	@cp $(addprefix $(REPORTING)/, study.md study.html study*.csv study_*.png study_*.jpg) docs/studies/$(STUDY)

# By number of tests, the order of xdist, the longest file would be the last: one test of minutes.
test: check ## Run the checks, then the tests
	@$(IN_VENV) DAF_TEST_DATASETS="$(DAF_TEST_DATASETS)" OMP_NUM_THREADS=1 \
		pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED) ## Lint, formatting, types and import contracts
	$(IN_VENV) ruff check
	$(IN_VENV) ruff format --check
	$(IN_VENV) mypy
	$(IN_VENV) lint-imports

ui: $(INSTALLED) ## Browse the experiments of the local store with MLflow
	@$(IN_VENV) mlflow ui --backend-store-uri sqlite:///mlflow.db $(ARGS)

viz: $(INSTALLED) ## Draw the pipelines into build/, a web page
	@$(IN_VENV) kedro viz build $(ARGS)

recipe: $(INSTALLED) ## Measure the recipes that docs/recipe.csv lacks (5 minutes each)
	@$(VENV)/bin/python benchmarks/recipe.py --list | while read -r name; do \
		$(VENV)/bin/python benchmarks/recipe.py --threads 1 --out docs/recipe.csv \
			--recipes "$$name" $(ARGS) || exit 1; \
	done

realism: $(INSTALLED) ## Hold synthetic defects against real ones: docs/realism.md (minutes)
	@DAF_TEST_DATASETS="$(DAF_TEST_DATASETS)" $(VENV)/bin/python \
		benchmarks/realism.py --threads 1 $(ARGS)

quality: $(INSTALLED) ## Measure the cells that docs/quality.csv lacks (hours; extra bench)
	@OMP_NUM_THREADS=1 DAF_TEST_DATASETS="$(DAF_TEST_DATASETS)" $(VENV)/bin/python \
		benchmarks/quality.py $(ARGS)

lock: ## Write constraints.txt anew, from the newest releases that pyproject.toml allows
	$(require_python)
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$(PYTHON)" -m venv "$$folder/venv"; \
	"$$folder/venv/bin/python" $(PIP_INSTALL) $(TORCH) -e ".[$(EXTRAS),bench]"; \
	echo '# Tested together on Python 3.11. Written by `make lock`.' > "$$folder/pins"; \
	"$$folder/venv/bin/python" -m pip freeze --all --exclude pip --exclude wheel \
		--exclude-editable >> "$$folder/pins"; \
	if grep -vE '^(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+)$$' "$$folder/pins"; then \
		echo 'constraints.txt is unchanged: no registry has the versions above.' >&2; exit 1; \
	fi; \
	cp "$$folder/pins" constraints.txt

clean: ## Remove the environment, caches and built files; data and experiments stay
	rm -rf $(VENV) $(CACHES) build dist src/*.egg-info

define require_python
@"$(PYTHON)" $(IS_SUPPORTED) 2>/dev/null || { \
	echo "Python 3.11 is needed, but $(or $(PYTHON),python3) is" \
		"$$($(or $(PYTHON),python3) --version 2>/dev/null || echo not there)." \
		"Install it, or name it: make COMMAND PYTHON=/path/to/python3.11" >&2; exit 1; }
endef

# Where the stamp is missing, an interrupted set-up may have left half a package: start again.
$(INSTALLED): pyproject.toml constraints.txt Makefile
	$(require_python)
	@test -e $@ || rm -rf $(VENV)
	@rm -f $@
	@echo 'Installing the pinned packages into $(VENV), 7 GB: several minutes the first time ...'
	@test -d $(VENV) || "$(PYTHON)" -m venv $(VENV)
	@$(VENV)/bin/python $(PIP_INSTALL) -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@
