# The commands; each sets itself up in $(VENV). Without make: README, "Without make".
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# For a GPU: make lab TORCH_INDEX=<the index address that the selector on pytorch.org shows for your CUDA>
TORCH_INDEX ?=
TORCH := $(shell grep '^torch==' requirements.lock)

.PHONY: course test mutants lab bench bench-7b bench-memory bench-gpu pretrain kill-trial

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) $(TORCH))
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

course: $(VENV)/.ready   ## run every notebook at scale=tiny: build/course/
	$(BIN)/ftkit course

test: $(VENV)/.ready     ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

mutants: $(VENV)/.ready  ## change each official answer in many small ways: no check may let one pass
	OMP_NUM_THREADS=1 $(BIN)/python -m ftkit.course.mutants

lab: $(VENV)/.ready      ## open lesson 00 in JupyterLab, in your own workspace folder
	$(BIN)/ftkit lab

bench: $(VENV)/.ready    ## measure beside trl, peft and bitsandbytes, the data pipeline, notebook runs and the widgets; tables go to benchmarks/results/
	$(BIN)/python benchmarks/train_speed.py
	$(BIN)/python benchmarks/lora_layer.py
	$(BIN)/python benchmarks/quant.py
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/notebook_runs.py
	$(BIN)/python benchmarks/widgets.py --train

bench-7b: $(VENV)/.ready ## build a 7B of random weights (15 GB of disk), load it in 4 bits, take QLoRA steps, delete it
	$(BIN)/python benchmarks/bench_7b.py

bench-memory: $(VENV)/.ready ## the planner's error: 26 configurations, 60 that were drawn, one of four processes
	$(BIN)/python benchmarks/memory_error.py
	$(BIN)/python benchmarks/memory_error.py --drawn 6
	$(BIN)/python benchmarks/memory_error.py --drawn 7
	$(BIN)/python benchmarks/memory_ranks.py

bench-gpu: $(VENV)/.ready ## on an NVIDIA GPU: QLoRA on 7 B architectures beside the usual stack, the planner's error, fused sweeps
	$(BIN)/python benchmarks/gpu_7b.py
	$(BIN)/python benchmarks/memory_error.py --gpu
	$(BIN)/python benchmarks/fused.py --gpu

pretrain: $(VENV)/.ready ## build the embedded base again and measure it (an hour on 2 cores)
	$(BIN)/python -m ftkit.pretrain
	$(BIN)/python benchmarks/embedded_base.py

kill-trial: $(VENV)/.ready ## 20 kills, 5 of them inside the writing of a checkpoint
	$(BIN)/python benchmarks/kill_trial.py
