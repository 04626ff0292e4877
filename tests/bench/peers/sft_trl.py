"""TRL's SFTTrainer as it comes on the same steps as ../lora_bench.cpp: its default packing and gradient checkpointing, bf16.

usage: sft_trl.py MODEL IDS.json STEPS THREADS STARTED

Prints the JSON of lora_peft.py. The rows are as long as max_length, so that packing leaves them as they are.
"""
import json
import sys
import tempfile
import time

model_folder, ids_file, steps, threads, started = sys.argv[1:6]
import torch

torch.set_num_threads(int(threads))
torch.manual_seed(0)
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer

rows = json.load(open(ids_file))[: int(steps)]
count, length = len(rows[0]), len(rows[0][0])
seconds, first, begin = [], [0.0], [0.0]


class Clock(TrainerCallback):
    def on_step_begin(self, *args, **kwargs):
        begin[0] = time.time()

    def on_step_end(self, *args, **kwargs):
        seconds.append(time.time() - begin[0])
        if len(seconds) == 1:
            first[0] = time.time() - float(started)


with tempfile.TemporaryDirectory() as folder:
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16, attn_implementation="sdpa")
    config = SFTConfig(output_dir=folder, per_device_train_batch_size=count, max_length=length, packing=True, bf16=True, use_cpu=True,
                       max_steps=len(rows), learning_rate=1e-5, adam_beta2=0.95, lr_scheduler_type="constant", logging_steps=1,
                       report_to=[], save_strategy="no", disable_tqdm=True, dataset_num_proc=1, shuffle_dataset=False,
                       train_sampling_strategy="sequential")
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(r=16, lora_alpha=16, use_rslora=True, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM")
    data = Dataset.from_list([{"input_ids": row} for step in rows for row in step])
    trainer = SFTTrainer(model=model, args=config, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(model_folder),
                         peft_config=lora, callbacks=[Clock()])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
peak = next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"tokens": count * length, "step_seconds": seconds, "losses": losses, "first_step_seconds": first[0], "peak_mib": peak}))
