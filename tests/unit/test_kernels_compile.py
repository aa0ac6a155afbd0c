"""The Triton kernels compile to machine code for GPUs that need not be there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# outside this process: here Triton may be the interpreter
PROGRAM = """
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from swd.kernels import triton_modulate, triton_rbf, triton_renoise

ROWS = {"scale_ptr", "shift_ptr", "gate_ptr"}
TENSORS = {"x_ptr", "y_ptr", "strip_ptr", "x0_ptr", "noise_ptr", "out_ptr", "of_out_ptr", *ROWS}
NUMBERS = ("x_square_ptr", "y_square_ptr", "sums_ptr", "lift_ptr", "sigma_ptr", "stats_ptr")
WIDE = dict.fromkeys(NUMBERS, "*fp32") | {"factor": "fp32", "eps": "fp32"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
for dtype, capability in (("bf16", 90), ("fp16", 80), ("fp32", 90)):
    tiles = triton_rbf.launch_options(DTYPES[dtype], 4096, 4096, 1536)
    options = {name: tiles.pop(name) for name in ("num_warps", "num_stages")}
    whole = triton_modulate.launch_options(2432)
    block, warps = {"BLOCK": whole["BLOCK"]}, {"num_warps": whole["num_warps"]}
    for kernel, constants, given in (
        (triton_rbf._rbf_strip, {**tiles, "HAS_DIAGONAL": True, "STORE": True, "UPCAST": False}, options),
        (triton_rbf._rbf_strip, {**tiles, "HAS_DIAGONAL": False, "STORE": False, "UPCAST": False}, options),
        (triton_renoise._upscale_renoise, {"BLOCK": triton_renoise.BLOCK}, {}),
        (triton_modulate._modulate, block, warps),
        (triton_modulate._modulate_back, block, warps),
        (triton_modulate._gate, block, warps),
    ):
        types = {name: WIDE.get(name, f"*{dtype}" if name in TENSORS else "i32") for name in kernel.arg_names}
        types |= dict.fromkeys(constants, "constexpr")
        values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        target = GPUTarget("cuda", capability, 32)
        compiled = triton.compile(ASTSource(kernel, types, values), target=target, options=given)
        print(dtype, capability, compiled.metadata.shared, len(compiled.asm["cubin"]))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton exists for Linux only")
def test_kernels_compile(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 18
    for _, _, shared, size in lines:
        assert int(size) > 1000
        assert int(shared) <= 163 * 1024  # of sm_80; sm_90 has more
