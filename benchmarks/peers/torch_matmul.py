#!/usr/bin/env python3
"""Matrix products beside PyTorch's, on one NVIDIA GPU, in turns.

    benchmarks/peers/torch_matmul.py [--gemm build/release/bin/clf_bench_gemm] [--device nvidia] [--provider nvidia_wgmma]
        [--dtypes f16,bf16] [--sizes 2048,4096,8192] [--rounds 3]

Square products. A round times PyTorch, then ours, by wall clock, ten calls at a time, least nine times; throughput counts
2 N^3 operations. Printed are the medians of the rounds' medians, (worst - best) / median of them, and their ratio.
"""
import argparse
import re
import statistics
import subprocess
import sys
import time

import torch

CALLS, REPEATS = 10, 15
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16}


def measure_torch(dtype, size):
    """TFLOP/s."""
    a, b = (torch.randn(size, size, device="cuda", dtype=DTYPES[dtype]) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(CALLS):
            torch.matmul(a, b)
        torch.cuda.synchronize()
        seconds.append((time.perf_counter() - begin) / CALLS)
    return 2e-12 * size ** 3 / statistics.median(seconds[1:])


def measure_clf(options, dtype, size):
    command = [options.gemm, options.device, options.provider, dtype, f"{size}x{size}x{size}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    found = re.search(r"([0-9.]+) GFLOP/s", done.stdout)
    if not found:
        sys.exit(f"{' '.join(command)}: {done.stdout} {done.stderr}")
    return 1e-3 * float(found.group(1))


def text_of(figures):
    middle = statistics.median(figures)
    return f"{middle:.0f} ({100 * (max(figures) - min(figures)) / middle:.0f}%)"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gemm", default="build/release/bin/clf_bench_gemm")
    parser.add_argument("--device", default="nvidia")
    parser.add_argument("--provider", default="nvidia_wgmma")
    parser.add_argument("--dtypes", default="f16,bf16")
    parser.add_argument("--sizes", default="2048,4096,8192")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    print(f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}; TFLOP/s (spread of rounds)")
    for dtype in options.dtypes.split(","):
        for size in map(int, options.sizes.split(",")):
            rounds = [(measure_torch(dtype, size), measure_clf(options, dtype, size)) for _ in range(options.rounds)]
            theirs, ours = zip(*rounds)
            ratio = statistics.median(ours) / statistics.median(theirs)
            print(f"{dtype:4} {size}: torch {text_of(theirs)}, {options.provider} {text_of(ours)}: {ratio:.2f}x", flush=True)


if __name__ == "__main__":
    main()
