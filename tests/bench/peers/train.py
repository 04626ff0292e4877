"""Training steps of decant and of transformers + peft, section by section: the same tokens, one pinned thread, interleaved.

usage: train.py MODEL_FOLDER BUILD_FOLDER WORK_FOLDER CORPUS_FOLDER ROUNDS [TRL_PYTHON]

SECTIONS in the environment names some of: lora trl isa dropout full qwen distill documents threads grouped nf4 (default: all). trl needs
TRL_PYTHON, a Python that has TRL too; isa repeats lora without AMX on both sides, where the processor has it.
"""
import json
import os
import statistics
import sys

from rounds import compare, run, spread, texts

model, build, work, corpus, rounds = *sys.argv[1:5], int(sys.argv[5])
here = os.path.dirname(os.path.abspath(__file__))
sections = os.environ.get("SECTIONS", "lora trl isa dropout full qwen distill documents threads grouped nf4").split()
trl_python = sys.argv[6] if len(sys.argv) > 6 else ""
steps = 3
os.makedirs(work, exist_ok=True)

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
stream = [i for text in texts(corpus, "en") for i in tokenizer.encode(text, add_special_tokens=False).ids]


def ids_file(lengths):
    """Steps whose rows have these lengths."""
    path, rows, at = os.path.join(work, f"ids_{len(lengths)}x{max(lengths)}.json"), [], 0
    for _ in range(steps):
        rows.append([])
        for length in lengths:
            rows[-1].append([stream[(at + i) % len(stream)] for i in range(length)])
            at += length
    json.dump(rows, open(path, "w"))
    return path


def ours(ids, *how, folder=model, threads=1):
    command = [os.path.join(build, "lora_bench"), folder, ids, str(steps), str(threads), "STARTED", *how]
    return run(command, threads)


def theirs(ids, *how, folder=model):
    return run([sys.executable, os.path.join(here, "lora_peft.py"), folder, ids, str(steps), "1", "STARTED", *how])


def steady(result):
    """Seconds of a step after the first."""
    return statistics.median(result["step_seconds"][1:])


def tokens_per_second(result):
    return result["tokens"] / steady(result)


def say(text):
    print(text, flush=True)


def tell(title, results):
    """What a side of decant's own did, beside the bound of its matrix products."""
    last = results[-1]
    if "gemm_bound_seconds" not in last:
        return say(f"  {title}: {spread([tokens_per_second(r) for r in results])} tokens/s, peak {last['peak_mib']} MiB, page faults {last['page_faults']}, "
                   f"C allocations above 1 MiB {last['large_allocations']}")
    bound = [100 * r["gemm_bound_seconds"] / steady(r) for r in results]
    say(f"  {title}: {spread([tokens_per_second(r) for r in results])} tokens/s, {spread(bound)} % of the GEMM bound "
        f"({spread([r['tokens'] / r['gemm_bound_seconds'] for r in results])} tokens/s), peak {last['peak_mib']} MiB, "
        f"page faults {last['page_faults']}, C allocations above 1 MiB {last['large_allocations']}")


def check_same_work(pairs):
    for a, b in pairs:
        if abs(a["losses"][0] - b["losses"][0]) > 0.05:
            sys.exit(f"bench: the two sides do not do the same work: first loss {a['losses'][0]} and {b['losses'][0]}")


def against_peer(title, ids, how=(), folder=model, peer=theirs):
    pairs = [(ours(ids, *how, folder=folder), peer(ids, *how, folder=folder)) for _ in range(rounds)]
    check_same_work(pairs)
    say("\n| what | unit | decant | peer | ratio |\n|---|---|---|---|---|")
    compare(title, "tokens/s", pairs, tokens_per_second)
    compare("its peak memory", "MiB", pairs, lambda r: r["peak_mib"], higher_is_better=False)
    compare("process start to the end of the first step", "s", pairs, lambda r: r["first_step_seconds"], higher_is_better=False)
    say("")
    tell("decant", [a for a, _ in pairs])
    say(f"  before the first step: {spread([a['first_step_seconds'] - a['step_seconds'][0] for a, _ in pairs])} s; "
        f"raw bf16 GEMM {spread([a['gemm_gflops'] for a, _ in pairs])} GFLOP/s")


def trl(ids, folder=model):
    return run([trl_python, os.path.join(here, "sft_trl.py"), folder, ids, str(steps), "1", "STARTED"])


def qwen_folder():
    """A model of Qwen2.5-0.5B's shape with random weights."""
    folder = os.path.join(work, "qwen2.5-0.5b-shape")
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        import torch
        from transformers import Qwen2Config, Qwen2ForCausalLM

        torch.manual_seed(0)
        config = Qwen2Config(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
                             num_attention_heads=14, num_key_value_heads=2, max_position_embeddings=32768,
                             rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True)
        Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


say(f"Training, one pinned thread, {rounds} interleaved rounds, median (min-max); ratio above 1: decant is better.")
four, one = ids_file([512] * 4), ids_file([2048])
if "lora" in sections:
    against_peer("LoRA bf16, SmolLM2-135M, 4x512, against transformers + peft", four)
    against_peer("LoRA bf16, SmolLM2-135M, 1x2048, against transformers + peft", one)
    lean = theirs(one, "checkpoint")
    for title, how in (("4x512, a row at a time", ("micro",)), ("4x512, activations made again", ("checkpoint",))):
        result = ours(four, *how)
        tell(title, [result])
        say(f"  leanest peer (checkpointing, 1x2048) {lean['peak_mib']} MiB: {lean['peak_mib'] / result['peak_mib']:.2f}x")
if "trl" in sections:
    if trl_python:
        against_peer("LoRA bf16, SmolLM2-135M, 4x512, against TRL's SFTTrainer as it comes", four, peer=trl)
    else:
        say("\ntrl: skipped, no Python with TRL was named")
if "isa" in sections:
    if "amx_bf16" in open("/proc/cpuinfo").read():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_BF16"
        against_peer("LoRA bf16, SmolLM2-135M, 4x512, both without AMX", four)
        del os.environ["ONEDNN_MAX_CPU_ISA"]
    else:
        say("\nisa: skipped, this processor has no AMX: section lora is the comparison without it")
if "dropout" in sections:
    pairs = [(ours(four, "dropout"), ours(four)) for _ in range(rounds)]
    say("\n| what | unit | with dropout 0.1 | without | ratio |\n|---|---|---|---|---|")
    compare("LoRA bf16, SmolLM2-135M, 4x512, decant alone", "tokens/s", pairs, tokens_per_second)
if "full" in sections:
    against_peer("full fine-tune, SmolLM2-135M, 4x512, against transformers with autocast", four, ("full",))
    tell("bf16 weights, 8-bit moments", [ours(four, "full", "lean")])
if "qwen" in sections:
    against_peer("LoRA bf16, Qwen2.5-0.5B's shape, 1x512, against transformers + peft", ids_file([512]), folder=qwen_folder())
if "distill" in sections:
    against_peer("distillation 135M to its every other layer, forward KL, 1x2048, against transformers", one, ("distill",))
    tell("bf16 weights, 8-bit moments", [ours(one, "distill", "lean")])
    tell("bf16 weights, 8-bit moments, activations made again", [ours(one, "distill", "lean", "checkpoint")])
if "documents" in sections:
    lengths = [40, 200, 80, 160, 120, 60, 180, 100, 140] * 2  # mean 120
    short_ids = ids_file(lengths)
    pairs = [(ours(short_ids), ours(one)) for _ in range(rounds)]
    say("\n| what | unit | documents of 120 in the mean | one of 2,048 | ratio |\n|---|---|---|---|---|")
    compare("LoRA bf16, SmolLM2-135M, decant alone", "tokens/s", pairs, tokens_per_second)
if "threads" in sections:
    if len(os.sched_getaffinity(0)) < 2:
        say("\nthreads: skipped, this machine has one core")
    else:
        pairs = [(ours(four, threads=2), ours(four)) for _ in range(rounds)]
        say("\n| what | unit | two threads | one | ratio |\n|---|---|---|---|---|")
        compare("LoRA bf16, SmolLM2-135M, 4x512, decant alone", "tokens/s", pairs, tokens_per_second)
if "grouped" in sections:
    bench = os.path.join(build, "grouped_bench")
    say("\n| eight adapters on layers of a 7b model | together, s | one after another, s | ratio |\n|---|---|---|---|")
    for rows in (16, 32, 64, 256, 512):
        r = run([bench, "8", str(rows), str(rounds), "1"])
        say(f"| {rows} rows each | {r['together_seconds']:.3f} | {r['one_after_another_seconds']:.3f} | "
            f"{r['ratio']:.2f}x ({r['ratio_least']:.2f}-{r['ratio_most']:.2f}) |")
    alone, eight = (run([bench, "memory", str(count), "64", "2"]) for count in (1, 8))
    say(f"  peak of 8 adapters at 64 rows {eight['peak_mib']} MiB, of one {alone['peak_mib']}, of the base {alone['base_mib']}")
if "nf4" in sections:
    results = [run([os.path.join(build, "quant_bench"), "3584", "3584", "20", "1"]) for _ in range(rounds)]
    say("\n| a layer 3,584 wide, times of bf16 | memory | step, 256 rows | step, 1,024 rows |\n|---|---|---|---|")
    for kind in ("int8", "nf4", "nf4_dq"):
        say(f"| {kind} | {results[0][kind]['bytes_of_bf16']:.3f} | {spread([r[kind]['256_rows']['step_of_bf16'] for r in results])} | "
            f"{spread([r[kind]['1024_rows']['step_of_bf16'] for r in results])} |")
