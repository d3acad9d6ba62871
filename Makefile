# make help shows the targets. Everything installs itself; only Python >= 3.11, git and make are needed.
PYTHON ?= python3
lang ?= am
run ?= demo-$(shell date +%Y%m%d-%H%M%S)
brief := '{overrides: {evaluate.recogniser_minutes: 3}}'
BIN := .venv/bin

.PHONY: help env test demo notebooks lint lab lock clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

env: .venv/.ready ## create .venv with the pinned packages and ttslib itself

.venv/.ready: requirements.lock requirements-parity.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q uv
	$(BIN)/uv pip install -q --compile-bytecode -p $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install -q -p $(BIN)/python --no-deps -r requirements-parity.txt
	$(BIN)/uv pip install -q -p $(BIN)/python --no-deps -e .
	touch $@

test: env lint ## lint and run all tests, two files at a time
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: env ## ruff: lint and format check
	$(BIN)/ruff check
	$(BIN)/ruff format --check

demo: env ## prepare, train and listen to lang=am on the embedded corpus; results in outputs/
	$(BIN)/papermill notebooks/00_data_prep.ipynb 'outputs/{lang}_00_data_prep.ipynb' -p lang $(lang)
	$(BIN)/papermill notebooks/03_train.ipynb 'outputs/{lang}_03_train.ipynb' -p lang $(lang) -p run $(run) -p minutes 5 -y $(brief)
	$(BIN)/papermill notebooks/04_listening.ipynb 'outputs/{lang}_04_listening.ipynb' -p lang $(lang) -p run $(run) -y $(brief)
	$(BIN)/jupyter nbconvert --log-level=WARN --to html outputs/$(lang)_00_data_prep.ipynb outputs/$(lang)_03_train.ipynb outputs/$(lang)_04_listening.ipynb
	@echo "open outputs/$(lang)_03_train.html and outputs/$(lang)_04_listening.html"

notebooks: env ## regenerate the .ipynb of every notebook from its .py
	for f in notebooks/*.py; do $(BIN)/jupytext -q --to ipynb $$f; done
	$(BIN)/nbstripout notebooks/*.ipynb

lab: env ## open JupyterLab
	$(BIN)/jupyter lab notebooks

lock: env ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove the environment (outputs stay)
	rm -rf .venv
