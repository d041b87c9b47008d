# Two commands do everything: `make demo` and `make test`. Each sets up all that it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SOURCES := CMakeLists.txt pyproject.toml $(shell find cpp python -type f -not -name '*.pyc' \
             -not -path 'python/helip/lib/*' -not -path 'python/helip/include/*' -not -name '_core*.so')
# Tests that run at once.
JOBS ?= $(shell nproc)
# Built in this environment, so that torch is downloaded once.
BUILD_NEEDS := 'scikit-build-core>=0.10' 'pybind11>=2.12' 'torch>=2.11' cmake ninja
# What helip is measured against, and what draws.
BENCH_NEEDS := 'faiss-cpu>=1.8' 'matplotlib>=3.8' hnswlib usearch pynndescent numba \
  scikit-image webdataset simplejpeg pandas scipy
# Where there is a wheel for it.
BENCH_WISHES := scann spdl
# What the tests of lost workers need.
FAULT_NEEDS := 'ray>=2.9' psutil

.PHONY: demo test test-cpp test-python test-consumer test-bench cuda faults bench experiments lint format stubs clean

demo: $(VENV)/.demo
	$(BIN)/helip demo --out demo-out

test: test-cpp test-python test-consumer

test-cpp: $(VENV)/.dev
	$(BIN)/cmake -S . -B build/tests -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	  -DCMAKE_BUILD_TYPE=Release -DHELIP_WERROR=ON -DHELIP_TORCH=OFF
	$(BIN)/cmake --build build/tests
	$(BIN)/ctest --test-dir build/tests --output-on-failure -j $(JOBS)

test-python: $(VENV)/.dev
	$(BIN)/python -m pytest tests/python -m 'not alone' -n $(JOBS) --dist loadfile
	$(BIN)/python -m pytest tests/python -m alone

test-consumer: $(VENV)/.dev
	$(BIN)/python -m pytest tests/consumer

# Compiles the CUDA kernel where there is a compiler for it; it takes a GPU to run it.
cuda: $(VENV)/.base
	@if command -v "$${CUDACXX:-nvcc}" >/dev/null; then \
	  $(BIN)/cmake -S cpp/cuda -B build/cuda -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN))/ninja \
	    -DHELIP_CUDA=ON -DHELIP_WERROR=ON -DCMAKE_CUDA_ARCHITECTURES=90 && \
	  $(BIN)/cmake --build build/cuda; \
	else \
	  echo "cuda: skipped, for there is no nvcc; install it or set CUDACXX"; \
	fi

# Kills, full disks, damaged bytes, lost workers: slower than the tests, called by CI.
faults: $(VENV)/.dev
	scripts/system-packages strace
	$(PIP) install -q $(FAULT_NEEDS)
	$(BIN)/python -m pytest tests/faults

# That what helip is measured against finds the same pools.
test-bench: $(VENV)/.dev
	$(PIP) install -q $(BENCH_NEEDS)
	for wish in $(BENCH_WISHES); do $(PIP) install -q $$wish || true; done
	$(BIN)/python -m pytest tests/python/test_bench_exact.py tests/python/test_bench_scale.py \
	  tests/python/test_bench_loader.py

# A few minutes; `python bench/exact.py` without options measures everything.
bench: $(VENV)/.dev
	$(PIP) install -q $(BENCH_NEEDS)
	$(BIN)/python bench/exact.py --rows 20000 --dims 1280x384 --k 50
	$(BIN)/python bench/open_store.py

# What fine-tuning gains, on real pictures: two hours on two cores, of which a rerun costs what changed.
experiments: $(VENV)/.dev
	$(PIP) install -q $(BENCH_NEEDS)
	$(BIN)/python bench/experiments/run.py

lint: $(VENV)/.dev
	$(BIN)/ruff check python tests bench examples scripts
	$(BIN)/ruff format --check python tests bench examples scripts
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp' '*.cu')
	$(BIN)/python scripts/stubs.py --check

format: $(VENV)/.dev
	$(BIN)/ruff format python tests bench examples scripts
	$(BIN)/ruff check --fix python tests bench examples scripts
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp' '*.cu')

stubs: $(VENV)/.dev
	$(BIN)/python scripts/stubs.py

clean:
	rm -rf build $(VENV) demo-out

$(VENV)/.base:
	scripts/system-packages
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(BUILD_NEEDS)
	touch $@

$(VENV)/.demo: $(SOURCES) | $(VENV)/.base
	$(PIP) install -q --no-build-isolation '.[demo]'
	touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/.base
	$(PIP) install -q --no-build-isolation -C cmake.define.HELIP_WERROR=ON '.[demo,embed,data,dev]'
	touch $@
