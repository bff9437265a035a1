#!/usr/bin/env python3
"""Fused attention beside PyTorch's scaled_dot_product_attention, on one NVIDIA GPU or the CPU, in one run.

    benchmarks/peers/torch_attention.py --clf build/release/bin/clf [--lengths 1024,4096,16384] [--head-dims 64,128]
        [--dtypes f16,bf16] [--passes forward,backward] [--families nvidia_mma] [--device nvidia] [--json FILE]
    benchmarks/peers/torch_attention.py --on cpu --device pocl --families vector --backends flash --dtypes f32,bf16
        --lengths 2048 --head-dims 64

Shapes: batch * length = 16384, heads = 2048 / head_dim, so that every case has the same tokens and model width; on the
CPU a batch of 1 and 512 / head_dim heads. PyTorch's backends are forced one at a time (flash, cuDNN,
memory-efficient); ours is `clf bench --json`. A case is measured by all of them before the next one, in turns as often
as --rounds says. Times are medians of single calls, on a GPU by the device's clock, in parentheses the spread
(worst - best) / median; throughput counts 4 B H N^2 D operations forward, half of it when causal, 2.5 times as much
backward. On the CPU PyTorch uses as many threads as there are processors. Needs PyTorch, for GPUs with CUDA.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def timed(call, on, repeats):
    """Seconds of single calls, between events on a GPU, after three to warm up."""
    for _ in range(3):
        call()
    if on == "cpu":
        times = [time.perf_counter()]
        for _ in range(repeats):
            call()
            times.append(time.perf_counter())
        return [end - begin for begin, end in zip(times, times[1:])]
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    torch.cuda.synchronize()
    for begin, end in events:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [1e-3 * begin.elapsed_time(end) for begin, end in events]


def measure_torch(backend, on, passes, dtype, batch, heads, length, width, causal, repeats):
    """{pass: seconds} of one backend; a pass that it cannot do is missing."""
    shape = (batch, heads, length, width)
    q, k, v = (torch.randn(shape, device=on, dtype=DTYPES[dtype], requires_grad=True) for _ in range(3))
    grad = torch.randn_like(q)
    result = {}
    try:
        with sdpa_kernel([BACKENDS[backend]]):
            if "forward" in passes:
                with torch.no_grad():
                    result["forward"] = timed(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal), on,
                                              repeats)
            if "backward" in passes:
                out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
                result["backward"] = timed(
                    lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True), on, repeats)
    except RuntimeError as error:
        print(f"  {backend} {dtype} {shape}: {str(error).splitlines()[0][:100]}", file=sys.stderr)
    return result


def measure_clf(options, family, passes, dtype, batch, heads, length, width, causal):
    command = [options.clf, "bench", "--component", "scaled_dot_product", "--device", options.device, "--family", family,
               "--lengths", str(length), "--head-dims", str(width), "--batches", str(batch), "--heads", str(heads),
               "--causal", "yes" if causal else "no", "--dtypes", dtype, "--passes", ",".join(passes),
               "--repeats", str(options.repeats), "--errors", "off", "--json", "-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    result = {}
    try:
        rows = json.loads(done.stdout)["devices"][0]["rows"]
    except (ValueError, KeyError, IndexError):
        print(f"  {' '.join(command)}: {done.stderr.strip()[:300]}", file=sys.stderr)
        return result
    for row in rows:
        if row["outcome"] == "measured":
            result[row["pass"]] = row.get("device_seconds", row["wall_seconds"])["samples"]
        else:
            print(f"  {family} {row['pass']}: {row.get('reason', '')[:200]}", file=sys.stderr)
    return result


def describe(on):
    if on == "cuda":
        return torch.cuda.get_device_name(0)
    torch.set_num_threads(os.cpu_count())
    return f"{torch.get_num_threads()} threads"


def join(rounds):
    """All samples of one side."""
    return {name: [sample for some in rounds for sample in some.get(name, [])] for some in rounds for name in some}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clf", default="build/release/bin/clf")
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--device", default="nvidia")
    parser.add_argument("--families", default="nvidia_mma")
    parser.add_argument("--lengths", default="1024,4096,16384")
    parser.add_argument("--head-dims", default="64,128")
    parser.add_argument("--dtypes", default="f16,bf16")
    parser.add_argument("--passes", default="forward,backward")
    parser.add_argument("--backends", default="flash,cudnn,efficient")
    parser.add_argument("--causal", choices=("both", "no", "yes"), default="both")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    passes = options.passes.split(",")
    backends, families = options.backends.split(","), options.families.split(",")
    records = []

    scale, unit = (1e-12, "TFLOP/s") if options.on == "cuda" else (1e-9, "GFLOP/s")
    print(f"{describe(options.on)}, PyTorch {torch.__version__}; {unit} (spread), then the ratio to each backend")
    for dtype in options.dtypes.split(","):
        for width in map(int, options.head_dims.split(",")):
            for length in map(int, options.lengths.split(",")):
                for causal in {"both": (False, True), "no": (False,), "yes": (True,)}[options.causal]:
                    gpu = options.on == "cuda"
                    batch, heads = max(1, 16384 // length) if gpu else 1, max(1, (2048 if gpu else 512) // width)
                    rounds = []
                    for _ in range(options.rounds):
                        rounds.append({name: measure_torch(name, options.on, passes, dtype, batch, heads, length, width,
                                                           causal, options.repeats) for name in backends})
                        if gpu:
                            torch.cuda.empty_cache()
                        for family in families:
                            rounds[-1][family] = measure_clf(options, family, passes, dtype, batch, heads, length, width,
                                                             causal)
                    seconds = {who: join([each[who] for each in rounds]) for who in rounds[0]}
                    for name in passes:
                        flops = 4.0 * batch * heads * length ** 2 * width * (0.5 if causal else 1)
                        flops *= 2.5 if name == "backward" else 1
                        line, median = f"{name:8} {dtype:4} D={width:<3} N={length:<5} {'causal' if causal else 'full':6}", {}
                        for who in backends + families:
                            samples = seconds[who].get(name)
                            if not samples:
                                line += f" {who} -"
                                continue
                            median[who] = statistics.median(samples)
                            spread = (max(samples) - min(samples)) / median[who]
                            line += f" {who} {scale * flops / median[who]:.0f} ({100 * spread:.0f}%)"
                            records.append({"who": who, "pass": name, "dtype": dtype, "head_dim": width,
                                            "length": length, "causal": causal, "flops": flops, "seconds": samples})
                        for family in families:
                            ratios = [f"{median[peer] / median[family]:.2f}x {peer}" for peer in backends
                                      if family in median and peer in median]
                            line += f" | {family}: " + ", ".join(ratios) if ratios else ""
                        print(line, flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(records, file)


if __name__ == "__main__":
    main()
