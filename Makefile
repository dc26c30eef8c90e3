# venv   the development environment, the package built in it       test    every test
# demo   the main job, on a smaller environment                     bench   the benchmarks
# check  style, types, and the native tests under sanitizers        fix     what a formatter can mend
# build  compile the core again after a change in native/           docs    run pages and notebooks again
# train  three models, with PyTorch's loss and with ours            accuracy  measure docs/accuracy.md
# soak   thousands of random cases               clean  remove what was built (not .venv)
# browser  Chromium, for the tests of pages      explorer  build the page of `lastlayer explore` (Node.js)
# site   the documentation as a site, in build/site                 site-links  its links to other places
# gpu    on a machine with a GPU, with what is installed there: build, test, measure; one table and one record

PYTHON ?= python3
TORCH  ?= torch==2.13.0
WORKERS ?= 2
GPU_SECONDS ?= 360
GPU_OUT ?= benchmarks/record/gpu
GPU_LOGS ?= build/gpu

VENV  := .venv
BIN   := $(VENV)/bin
DEV   := $(VENV)/.dev
DEMO  := $(VENV)/.demo
SITE  := $(VENV)/.site
BENCH := $(VENV)/.bench
TOOLS := "scikit-build-core>=0.11" "nanobind>=2.9" "cmake>=3.26" "ninja>=1.11"
# What the compiled core is made of: a change here means a new build.
CORE  := CMakeLists.txt pyproject.toml $(shell find native -type f -not -path 'native/tests/*' 2>/dev/null)
# Node.js is optional: without it the built page is not compared with its sources.
PACKAGES := $(if $(shell command -v npm),explorer/node_modules)
NATIVE = $(shell find native -name '*.cpp' -o -name '*.hpp' -o -name '*.inl')

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: venv build demo train test browser explorer soak bench gpu accuracy check format lint types native-format native sanitize fix docs site site-links clean

venv: $(DEV)
build: $(DEV)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The build tools come first, so that the package is built with them and without a second, isolated environment.
$(DEV): $(CORE) | $(BIN)/python
	@echo "installing the development environment in $(VENV), which takes minutes"
	$(BIN)/pip install --quiet $(TORCH) $(TOOLS)
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[all,dev]'
	@touch $@

# torch is only one of the peers that the demonstration compares with: `make demo TORCH=` leaves it out.
$(DEMO): $(CORE) | $(BIN)/python
	@echo "installing scikit-learn, PyTorch and this package in $(VENV), which takes minutes"
	$(BIN)/pip install --quiet $(TOOLS) scikit-learn scipy
	$(if $(TORCH),-$(BIN)/pip install --quiet $(TORCH))
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[cli,report]'
	@touch $@

demo: $(if $(wildcard $(DEV)),$(DEV),$(DEMO))
	$(BIN)/python examples/digits.py

train: $(DEV)
	$(BIN)/python examples/compare_training.py

test: $(DEV) browser $(PACKAGES)
	$(BIN)/python -m pytest -n $(WORKERS)

# The tests of the report open it in Chromium, from the system's package manager.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	    { apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium fonts-dejavu-core >/dev/null; } || \
	    echo "no Chromium: the tests in a browser are skipped"

# The built page is committed: only who changes explorer/ needs Node.js. A test builds it again and compares.
explorer: explorer/node_modules
	cd explorer && npm run --silent types && npm run --silent build

explorer/node_modules: explorer/package-lock.json
	@cd explorer && npm ci --silent --ignore-scripts --no-audit --no-fund && touch node_modules || \
	    echo "npm ci failed: the explorer's page is not compared with its sources"

# Every test that is marked so: @pytest.mark.soak.
soak: $(DEV)
	$(BIN)/python -m pytest -n $(WORKERS) -m soak

bench: $(BENCH)
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/linear.py
	$(BIN)/python benchmarks/small.py
	$(BIN)/python benchmarks/evaluate.py
	$(BIN)/python benchmarks/fit.py

# No environment is made and nothing is fetched: $(PYTHON) has torch, Triton, scikit-build-core and nanobind.
gpu:
	$(PYTHON) benchmarks/gpu/steps.py --budget $(GPU_SECONDS) --out $(GPU_OUT) --logs $(GPU_LOGS)

# Some peers are large, and only the benchmarks need them.
$(BENCH): $(DEV)
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[bench]'
	@touch $@

accuracy: $(DEV)
	$(BIN)/python benchmarks/accuracy.py

check: format lint types native-format native sanitize

format: $(DEV)
	$(BIN)/ruff format --check .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy src

native-format: $(DEV)
	$(BIN)/clang-format --dry-run -Werror $(NATIVE)

# The native tests as they are shipped; make test runs them again on an emulated processor, where there is an emulator.
native: $(DEV)
	cmake -S . -B build/native -G Ninja -DLASTLAYER_TESTS=ON
	cmake --build build/native
	ctest --test-dir build/native --output-on-failure

sanitize: $(DEV)
	cmake -S . -B build/asan -G Ninja -DLASTLAYER_TESTS=ON -DLASTLAYER_SANITIZE=address,undefined
	cmake --build build/asan
	ctest --test-dir build/asan --output-on-failure
	cmake -S . -B build/tsan -G Ninja -DLASTLAYER_TESTS=ON -DLASTLAYER_SANITIZE=thread
	cmake --build build/tsan
	ctest --test-dir build/tsan --output-on-failure

fix: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(NATIVE)

docs: $(DEV) browser
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/worked/pictures.py
	$(BIN)/python docs/tutorial/pictures.py
	$(BIN)/python docs/notebooks/build.py
	$(BIN)/python docs/build_worked.py
	$(BIN)/python examples/digits.py --rows 2000 --repeats 1 > /dev/null
	$(BIN)/python docs/report_picture.py digits-report.html
	$(BIN)/python docs/explorer_picture.py

# What the site needs is less than the development environment.
$(SITE): $(CORE) | $(BIN)/python
	@echo "installing this package and Sphinx in $(VENV), which takes minutes"
	$(BIN)/pip install --quiet $(TORCH) $(TOOLS)
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[all,docs]'
	@touch $@

# Warnings are errors: a link that leads nowhere, a docstring that cannot be read, a name that is not in the reference.
site: $(if $(wildcard $(DEV)),$(DEV),$(SITE))
	$(BIN)/python -m sphinx -b html -W --keep-going -q -d build/site-doctrees docs build/site
	@echo "open build/site/index.html"

site-links: site
	$(BIN)/python docs/_site/links.py build/site

clean:
	rm -rf build dist $(DEV) $(DEMO) $(SITE) .mypy_cache .ruff_cache .pytest_cache .hypothesis
