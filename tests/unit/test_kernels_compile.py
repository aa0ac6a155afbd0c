"""The Triton kernels compile to machine code for GPUs that need not be there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# outside this process: here Triton may be the interpreter
PROGRAM = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from swd.kernels import triton_rbf, triton_renoise

TENSORS = {"x_ptr", "y_ptr", "strip_ptr", "x0_ptr", "noise_ptr", "out_ptr"}
WIDE = {"sums_ptr": "*fp32", "lift_ptr": "*fp32", "sigma_ptr": "*fp32", "factor": "fp32"}
TILE = {"BLOCK_ROWS": 64, "BLOCK_COLUMNS": 64, "BLOCK_WIDTH": 32}
KERNELS = [
    (triton_rbf._rbf_strip, {**TILE, "HAS_DIAGONAL": True, "STORE": True, "UPCAST": False}),
    (triton_rbf._rbf_strip, {**TILE, "HAS_DIAGONAL": False, "STORE": False, "UPCAST": False}),
    (triton_renoise._upscale_renoise, {"BLOCK": 512}),
]
for dtype, capability in (("bf16", 90), ("fp16", 80), ("fp32", 90)):
    for kernel, constants in KERNELS:
        types = {name: WIDE.get(name, f"*{dtype}" if name in TENSORS else "i32") for name in kernel.arg_names}
        types |= dict.fromkeys(constants, "constexpr")
        values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
        compiled = triton.compile(ASTSource(kernel, types, values), target=GPUTarget("cuda", capability, 32))
        print(dtype, capability, len(compiled.asm["cubin"]))
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton exists for Linux only")
def test_kernels_compile(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    sizes = [int(line.split()[-1]) for line in done.stdout.splitlines()]
    assert len(sizes) == 9
    assert min(sizes) > 1000
