PYTHON ?= python3
VENV ?= .venv
# The set we test with; `make setup CONSTRAINTS=` takes the newest release of everything instead.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The bundled weights: see training/foley_world/README.md.
WORLD ?= outputs/$(if $(TRIAL),trial,world)
JOBS ?= 2
SEED ?= 0
# Matrices are multiplied in bf16 where the processor can: 1.7 times as fast.
PRECISION ?= $(if $(shell grep -sm1 -oE 'avx512_bf16|amx_bf16' /proc/cpuinfo),bf16,fp32)
# Compiled where there is a C++ compiler, and more than a trial's few steps.
COMPILE ?= $(if $(TRIAL),false,$(if $(shell command -v c++ || command -v g++ || command -v clang++),true,false))
# With TRIAL=1 a few clips and steps, to see that all of it works.
FEW := $(if $(TRIAL),--steps 3 --batch-size 8)
# Threads that wait asleep: where other programs keep the cores busy, it is ten times as fast.
PYTHON_ON_CPU := OMP_WAIT_POLICY=PASSIVE $(BIN)/python
# Memory that is freed is kept (glibc): asking for it again at each step costs page faults.
KEEP_MEMORY := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
# One thread for each of JOBS processes.
TORCHRUN := OMP_NUM_THREADS=1 $(KEEP_MEMORY) $(BIN)/python -m torch.distributed.run --standalone --nproc-per-node $(JOBS)

.PHONY: help setup demo world encoders model test check lint types format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z]+:.*##/ { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment and install everything

$(STAMP): pyproject.toml requirements.txt training/requirements.txt tests/requirements.txt $(wildcard $(CONSTRAINTS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[training,dev]" $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))
	@touch $@

demo: setup ## Set up, and make sound for a clip and two prompts with the bundled model
	$(PYTHON_ON_CPU) -m training.demo

world: setup ## Make the clips that the bundled weights learn from
	$(BIN)/python -m training.foley_world $(WORLD)/train --split train --count $(if $(TRIAL),24,6000) --jobs $(JOBS)
	$(BIN)/python -m training.foley_world $(WORLD)/more --split train --start 6000 --count $(if $(TRIAL),8,6000) --jobs $(JOBS)
	$(BIN)/python -m training.foley_world $(WORLD)/validation --split validation --count $(if $(TRIAL),8,300) --jobs $(JOBS)

ENCODER := $(WORLD)/train/manifest.csv --cache $(WORLD)/cache --jobs $(JOBS) --seed $(SEED) $(FEW)
ENCODERS := --clip $(WORLD)/clip_foley.safetensors --synchformer $(WORLD)/synchformer_foley.safetensors

encoders: setup ## Train the bundled encoders on them, and extract their features
	$(PYTHON_ON_CPU) -m training.encoders.image_text $(ENCODER) -o $(WORLD)/clip_foley.safetensors
	$(PYTHON_ON_CPU) -m training.encoders.audio_visual $(ENCODER) -o $(WORLD)/synchformer_foley.safetensors
	for split in train more validation; do \
		$(TORCHRUN) -m training.extract_features $(WORLD)/$$split/manifest.csv $(ENCODERS) \
			-o $(WORLD)/$${split}_features --duration 4 --workers 0 || exit; \
	done

RECIPE := training/configs/small_16k.yaml execution.precision=$(PRECISION) execution.compile=$(COMPILE) \
	data.train='[$(WORLD)/train_features,$(WORLD)/more_features]' data.validation='[$(WORLD)/validation_features]' \
	output.sample_every=0
TEACH := $(PYTHON_ON_CPU) -m training.teach_onsets $(RECIPE) $(FEW)
TRAIN := $(TORCHRUN) -m training.train $(RECIPE)
# Each part has a seed of its own: weights know the noise that they were trained with.
seed = execution.seed=$(shell expr $(SEED) + $(1))
steps = $(if $(TRIAL),3,$(1))
# The filters learn in a window of half the length, and are stretched for the third part and all after it.
SHORT := model.filter_windows='[2048,256]'
FIRST := $(SHORT) $(call seed,0)
SECOND := $(SHORT) $(call seed,1) start.pass_through=false
THIRD := $(call seed,2) start.pass_through=false data.drop_video=0.3
# What is learned badly comes more often: these and a drum once more, two things with one of these twice.
HARD := glass_ball metal_ball metal_tube tin_can wine_glass wooden_bar wooden_block
REPEATED := start.pass_through=false data.repeat='[$(WORLD)/hard.csv,$(WORLD)/hard_two.csv,$(WORLD)/hard_two.csv]'
FOURTH := $(REPEATED) $(call seed,3) data.drop_video=0.4
# Before the fifth the layers are taught onsets for longer, in two goes.
TEACH_LONGER := $(TEACH) start.pass_through=false
FIFTH := $(REPEATED) $(call seed,6)
LAST := $(REPEATED) $(call seed,7) start.open_gates=true
SUBSET := $(BIN)/python -m training.foley_world.subset $(WORLD)/train $(WORLD)/more
# The layers of the first part: all that the recipe leaves free, and those of the Synchformer.
FREE := optim.freeze='[audio_input_proj,clip_input_proj,text_input_proj,clip_cond_proj,text_cond_proj,global_cond_mlp]'

model: setup ## Train the bundled model on these, 2 seconds at a time and at last 4
	$(TEACH) $(FIRST) -o $(WORLD)/onsets.safetensors
	$(TRAIN) $(FIRST) start.weights=$(WORLD)/onsets.safetensors $(FREE) \
		optim.steps=$(call steps,4000) -o $(WORLD)/run_free
	$(TEACH) $(SECOND) start.weights=$(WORLD)/run_free/model.safetensors -o $(WORLD)/onsets_again.safetensors
	$(TRAIN) $(SECOND) start.weights=$(WORLD)/onsets_again.safetensors \
		optim.steps=$(call steps,4000) -o $(WORLD)/run
	$(TRAIN) $(THIRD) start.weights=$(WORLD)/run/model.safetensors \
		optim.steps=$(call steps,4000) -o $(WORLD)/run_longer
	$(SUBSET) --classes $(HARD) drum -o $(WORLD)/hard.csv
	$(SUBSET) --classes $(HARD) --things 2 -o $(WORLD)/hard_two.csv
	$(TRAIN) $(FOURTH) start.weights=$(WORLD)/run_longer/model.safetensors \
		optim.steps=$(call steps,6000) -o $(WORLD)/run_repeated
	$(TEACH_LONGER) $(call seed,4) --steps $(call steps,1400) \
		start.weights=$(WORLD)/run_repeated/model.safetensors -o $(WORLD)/onsets_longer.safetensors
	$(TEACH_LONGER) $(call seed,5) --steps $(call steps,2000) \
		start.weights=$(WORLD)/onsets_longer.safetensors -o $(WORLD)/onsets_longest.safetensors
	$(TRAIN) $(FIFTH) start.weights=$(WORLD)/onsets_longest.safetensors \
		optim.steps=$(call steps,7500) -o $(WORLD)/run_again
	$(TRAIN) $(LAST) start.weights=$(WORLD)/run_again/model.safetensors audio.window=4 \
		optim.steps=$(call steps,100) optim.lr=1e-4 optim.warmup_steps=20 -o $(WORLD)/run_4s
	$(BIN)/python -m training.export $(WORLD)/run_4s --dtype fp16 -o $(WORLD)/wavflow_foley_16k.safetensors

test: setup ## Set up and run the tests
	$(BIN)/python -m pytest

lint: setup ## Lint and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## Check the types
	$(BIN)/pyright --pythonpath $(BIN)/python

check: lint types test ## All that the continuous integration checks

format: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache *.egg-info
