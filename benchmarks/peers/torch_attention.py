#!/usr/bin/env python3
"""Fused attention beside PyTorch's scaled_dot_product_attention, on one NVIDIA GPU, in one run.

    benchmarks/peers/torch_attention.py --clf build/release/bin/clf [--lengths 1024,4096,16384] [--head-dims 64,128]
        [--dtypes f16,bf16] [--passes forward,backward] [--families nvidia_mma] [--device nvidia] [--json FILE]

Shapes: batch * length = 16384, heads = 2048 / head_dim, so that every case has the same tokens and model width.
PyTorch's backends are forced one at a time (flash, cuDNN, memory-efficient); ours is `clf bench --json`. A case is
measured by all of them before the next one. Times are medians of single calls on the device's clock, in
parentheses the spread (worst - best) / median; throughput counts 4 B H N^2 D operations forward, half of
it when causal, 2.5 times as much backward. Needs PyTorch with CUDA.
"""
import argparse
import json
import statistics
import subprocess
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def timed(call, repeats):
    """Seconds of single calls between events, after three to warm up."""
    for _ in range(3):
        call()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    torch.cuda.synchronize()
    for begin, end in events:
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return [1e-3 * begin.elapsed_time(end) for begin, end in events]


def measure_torch(backend, passes, dtype, batch, heads, length, width, causal, repeats):
    """{pass: seconds} of one backend; a pass that it cannot do is missing."""
    shape = (batch, heads, length, width)
    q, k, v = (torch.randn(shape, device="cuda", dtype=DTYPES[dtype], requires_grad=True) for _ in range(3))
    grad = torch.randn_like(q)
    result = {}
    try:
        with sdpa_kernel([BACKENDS[backend]]):
            if "forward" in passes:
                with torch.no_grad():
                    result["forward"] = timed(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal), repeats)
            if "backward" in passes:
                out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
                result["backward"] = timed(
                    lambda: torch.autograd.grad(out, (q, k, v), grad, retain_graph=True), repeats)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clf", default="build/release/bin/clf")
    parser.add_argument("--device", default="nvidia")
    parser.add_argument("--families", default="nvidia_mma")
    parser.add_argument("--lengths", default="1024,4096,16384")
    parser.add_argument("--head-dims", default="64,128")
    parser.add_argument("--dtypes", default="f16,bf16")
    parser.add_argument("--passes", default="forward,backward")
    parser.add_argument("--backends", default="flash,cudnn,efficient")
    parser.add_argument("--causal", choices=("both", "no", "yes"), default="both")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json")
    options = parser.parse_args()
    passes = options.passes.split(",")
    backends, families = options.backends.split(","), options.families.split(",")
    records = []

    print(f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}; TFLOP/s (spread), then the ratio to each backend")
    for dtype in options.dtypes.split(","):
        for width in map(int, options.head_dims.split(",")):
            for length in map(int, options.lengths.split(",")):
                for causal in {"both": (False, True), "no": (False,), "yes": (True,)}[options.causal]:
                    batch, heads = max(1, 16384 // length), max(1, 2048 // width)
                    seconds = {name: measure_torch(name, passes, dtype, batch, heads, length, width, causal,
                                                   options.repeats) for name in backends}
                    torch.cuda.empty_cache()
                    for family in families:
                        seconds[family] = measure_clf(options, family, passes, dtype, batch, heads, length, width, causal)
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
                            line += f" {who} {1e-12 * flops / median[who]:.0f} ({100 * spread:.0f}%)"
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
