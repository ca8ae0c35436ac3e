# make demo   set up on first use, then audit the embedded zoo (no network), print a table and write a report
# make test   the same set-up, then every test against the installed wheel
# make test-fast  the tests that take no more than a few seconds each
# make test-coverage  every test, and which lines and branches none of them reaches
# make coverage  how often the intervals hold the truth: the simulations behind docs/numbers.md
# make check  lint, types, import directions, tables, and the floor of coverage where it was collected
# make bench  speed side by side with peers
# make fuzz   ten minutes of hostile input for each reader of files
# make gallery  the pictures of docs/gallery.md
# make notebooks  what the notebooks of the site show
# make docs  the documentation site, into build/site
# make tables  the tables of attacks and of kept results in the README and in docs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find securitynet_hub metrics loaders -type f -not -path '*/__pycache__/*')
# In the order of the files: modules of few but slow tests are not left to one process at the end.
PARALLEL := -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder
# `make check test` runs those of the check once.
CHECKED := tests/project/test_imports.py tests/project/test_tables.py
ONCE := $(if $(filter check,$(MAKECMDGOALS)),$(addprefix --ignore=,$(CHECKED)))
# Of the two smaller runs; with SMALL= each is one process, which is enough for one beside `make test-alone`.
SMALL ?= $(PARALLEL)
# Python compiles a module when it is first imported: most of what is installed never is. It must keep what it
# compiled, or each of the many processes of the tests would compile it again, which takes some 15 seconds.
unexport PYTHONDONTWRITEBYTECODE
# In a new environment, processes that start together each compile the same modules and tests: half a minute of
# a core each. With COMPILED=$(VENV)/compiled, `make test` lets one process compile before it starts the
# others. That saves time where other runs keep the cores busy meanwhile.
COMPILED ?=
# With UV=uv, uv installs: in a quarter of pip's time, and what two environments share lies on the disk once.
ifdef UV
export UV_PRERELEASE := disallow
venv = $(UV) venv --quiet --seed --python $(PYTHON) --allow-existing
install = $(UV) pip install --quiet --python $(1)/bin/python
REQUIREMENTS := -r pyproject.toml --extra dev
WHEEL := $(UV) build --quiet --wheel --out-dir
consistent = $(UV) pip check --python $(1)/bin/python
else
venv = $(PYTHON) -m venv
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
REQUIREMENTS := ".[dev]"
WHEEL := $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir
consistent = $(1)/bin/python -m pip check
endif
INSTALL := $(call install,$(VENV))

.PHONY: accessibility demo docs gallery notebooks tables coverage test test-alone test-coverage test-fast test-exhaustive test-vision test-hosted check bench fuzz test-lowest clean

demo: $(VENV)/installed
	rm -rf records/samples
	$(BIN)/securitynet audit zoo --attacks correctness modified_entropy --out records \
		--samples records/samples
	$(BIN)/securitynet report records --samples records/samples --out records/report.html

# The pictures of docs/gallery.md, by the commands that stand there; those of pages need Chromium.
GALLERY := build/gallery
TWINS := bn-cnn-overfitted-500 bn-cnn-regularised-500 cnn-overfitted-250 cnn-regularised-250
gallery: $(VENV)/installed
	rm -rf $(GALLERY)
	for model in $(TWINS) cnn-clean; do \
		$(BIN)/securitynet audit zoo/fashion-mnist/$$model/1 --attacks correctness modified_entropy mlp_top3 \
			--out $(GALLERY)/records --samples $(GALLERY)/samples || exit 1; \
	done
	$(BIN)/securitynet audit zoo/fashion-mnist/cnn-corner-patch/7 --attacks twins neural_cleanse model_stealing \
		--budgets 50 200 1000 --out $(GALLERY)/backdoored
	$(BIN)/securitynet report $(GALLERY)/backdoored --out $(GALLERY)/backdoored.html --data $(GALLERY)/backdoored/figures
	$(BIN)/securitynet report $(GALLERY)/records --samples $(GALLERY)/samples --out $(GALLERY)/report.html \
		--data $(GALLERY)/figures
	$(BIN)/securitynet study --out $(GALLERY)/study
	$(BIN)/securitynet audit zoo --attacks modified_entropy --out $(GALLERY)/zoo
	$(BIN)/securitynet leaderboard --records $(GALLERY)/zoo --format html --out $(GALLERY)/board.html
	$(BIN)/securitynet explore --records $(GALLERY)/zoo --out $(GALLERY)/explorer.html
	$(BIN)/python docs/screenshots.py $(GALLERY)/explorer.html docs/gallery/explorer.png 1280 1000 light
	$(BIN)/python docs/screenshots.py $(GALLERY)/report.html docs/gallery/overview.png 1280 900 light
	$(BIN)/python docs/screenshots.py $(GALLERY)/backdoored.html docs/gallery/report-phone.png 390 844 dark
	$(BIN)/python docs/screenshots.py $(GALLERY)/board.html docs/gallery/leaderboard.png 1200 800 light
	cp $(addprefix $(GALLERY)/figures/,model-1-roc.png model-1-scores-mlp-top3.png) \
		$(GALLERY)/samples/zoo/fashion-mnist/bn-cnn-overfitted-500/1/exposed-mlp_top3.png \
		$(addprefix $(GALLERY)/study/figures/,panels.png stealing-agreement-test-accuracy.png \
		mia-modified-entropy-auc-overfit-gap.png out-of-distribution-queries.png) docs/gallery/
	for figure in stealing neural-cleanse-classes; do \
		cp $(GALLERY)/backdoored/figures/model-1-$$figure.png docs/gallery/$$figure.png || exit 1; \
	done
	for part in mask pattern trigger; do \
		$(BIN)/python -c "import sys; from PIL import Image; Image.open(sys.argv[1]).resize((168, 168), 0).save(sys.argv[2])" \
			$(GALLERY)/backdoored/zoo/fashion-mnist/cnn-corner-patch/7/neural_cleanse-*-class-0-$$part.png \
			docs/gallery/trigger-$$part.png || exit 1; \
	done

# axe-core, which npm fetches, on what is written for browsers: light and dark, 1,280 and 390 pixels wide.
accessibility: $(VENV)/installed
	rm -rf build/axe && mkdir -p build/axe
	cd build/axe && npm pack --silent axe-core@4 && tar -xzf axe-core-*.tgz package/axe.min.js
	$(BIN)/securitynet audit zoo/fashion-mnist/bn-cnn-overfitted-500/1 --out build/axe/records --samples build/axe/samples
	$(BIN)/securitynet audit zoo/fashion-mnist/cnn-clean/1 --out build/axe/records --samples build/axe/samples
	$(BIN)/securitynet report build/axe/records --samples build/axe/samples --out build/axe/report.html
	$(BIN)/securitynet leaderboard --records build/axe/records --format html --out build/axe/board.html
	$(BIN)/securitynet explore --records build/axe/records --out build/axe/explorer.html
	$(BIN)/securitynet study --out build/axe/study
	$(BIN)/python docs/accessibility.py build/axe/package/axe.min.js build/axe/report.html build/axe/board.html \
		build/axe/explorer.html build/axe/study/study.html \
		$(filter-out %/404.html,$(wildcard build/site/*.html build/site/notebooks/*.html))

notebooks: $(VENV)/installed
	$(BIN)/python docs/run_notebooks.py docs/notebooks/*.ipynb

# What pages say of attacks, from the attacks themselves.
tables: $(VENV)/installed
	$(BIN)/python docs/attack_tables.py
	$(BIN)/python benchmarks/tables.py

# Two runs, which `make -j2` starts together: each waits for processes, and has little to do at its end.
test: test-alone test-vision

test-alone: $(VENV)/installed $(COMPILED)
	$(BIN)/pytest $(PARALLEL) $(ONCE) tests --pyargs securitynet_hub -m "not exhaustive"

test-fast: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) tests --pyargs securitynet_hub -m "not slow and not exhaustive"

# Apart from `make test`, which must not wait for the tracer: only the hosted workflow runs it.
test-coverage: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) tests --pyargs securitynet_hub -m "not exhaustive" --cov --cov-report=term-missing

# The sources that take their networks from torchvision and timm. Only this run sees the two: torchvision's
# wheel may be built for another torch, and then breaks whatever imports it.
test-vision: $(VENV)/installed $(VENV)/vision/installed $(COMPILED)
	VISION=$(abspath $(VENV)/vision) $(BIN)/pytest $(SMALL) tests/vision \
		tests/loaders/test_hosted.py::test_every_family_has_a_network_for_each_of_its_data_sets

# Every network of every source, which takes minutes; `make test` builds one of each family.
test-exhaustive: $(VENV)/installed
	$(BIN)/pytest $(PARALLEL) tests -m exhaustive --ignore=tests/loaders/test_hosted.py

# A checkpoint for every row in its publisher's form, served, read and loaded: about 40 minutes of one core, and
# up to 10 GB of memory for the largest. SHARD=2/8 takes the second of every eight rows.
test-hosted: $(VENV)/installed $(VENV)/vision/installed
	VISION=$(abspath $(VENV)/vision) SHARD=$(or $(SHARD),1/1) $(BIN)/pytest $(PARALLEL) tests/loaders/test_hosted.py -m exhaustive -rs

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy securitynet_hub loaders
	$(BIN)/pytest $(CHECKED)
	if [ -f .coverage ]; then $(BIN)/coverage report --format=total; fi

# Three quarters of an hour of one core.
coverage: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/measure_coverage.py
	$(BIN)/python benchmarks/tables.py

# Ten minutes for each reader of untrusted files; what breaks one is kept in fuzz/found.
READERS := pickle archive checkpoint safetensors onnx index signature
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/installed
	for reader in $(READERS); do OMP_NUM_THREADS=1 $(BIN)/python fuzz/readers.py $$reader --seconds $(FUZZ_SECONDS) || exit 1; done

bench: $(VENV)/installed
	$(BIN)/pytest benchmarks/bench_*.py -s

# The fast tests with the lowest versions that pyproject.toml allows. On Linux the lowest torch brings
# gigabytes of CUDA libraries; TORCH=2.13.0 takes another. ROOMS="tests/metrics tests/sharing" runs a part.
ROOMS ?= tests --pyargs securitynet_hub
test-lowest: .venv-lowest/installed
	.venv-lowest/bin/pytest $(SMALL) $(ROOMS) -m "not slow and not exhaustive"

# The site, with search, for a server or to be opened from disk. A broken link, anchor or missing page fails.
docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

clean:
	rm -rf $(VENV) .venv-lowest .venv-docs build dist *.egg-info .coverage

$(VENV)/requirements: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): a few minutes, once."
	$(venv) $(VENV)
	$(INSTALL) -c constraints.txt $(REQUIREMENTS)
	$(INSTALL) --no-deps pytorchcv==0.0.74  # with its dependencies it would replace torch
	touch $@

.venv-docs/installed: docs/requirements.txt
	rm -rf .venv-docs
	$(venv) .venv-docs
	$(call install,.venv-docs) -r docs/requirements.txt
	touch $@

.venv-lowest/requirements: pyproject.toml
	rm -rf .venv-lowest
	$(venv) .venv-lowest
	.venv-lowest/bin/python tests/support/lowest_versions.py $(if $(TORCH),torch==$(TORCH)) > .venv-lowest/lowest.txt
	$(call install,.venv-lowest) -r .venv-lowest/lowest.txt
	touch $@

.venv-lowest/installed: .venv-lowest/requirements dist/built
	$(call install,.venv-lowest) --force-reinstall --no-deps dist/*.whl
	$(call consistent,.venv-lowest)
	touch $@

$(VENV)/vision/installed: $(VENV)/requirements
	rm -rf $(VENV)/vision
	$(INSTALL) --no-deps --target $(VENV)/vision torchvision==0.28.0 timm==1.0.31
	touch $@

dist/built: $(VENV)/requirements $(SOURCES) README.md LICENSE
	rm -rf build dist *.egg-info
	$(WHEEL) dist .
	rm -rf build *.egg-info
	touch $@

$(VENV)/installed: dist/built
	$(INSTALL) --no-deps --force-reinstall dist/*.whl
	touch $@

# An error does not matter here: the tests that follow report it.
$(VENV)/compiled: $(VENV)/requirements | $(VENV)/installed
	-$(BIN)/pytest --collect-only tests --pyargs securitynet_hub >/dev/null
	touch $@
