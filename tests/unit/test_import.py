import subprocess
import sys

import pytest

import swd


def test_importing_swd_needs_nothing_heavy() -> None:
    code = (
        "import sys, swd; swd.preset('mini-4'); print([m for m in ('torch', 'diffusers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    assert all(getattr(swd, name) is not None for name in swd.__all__)
    assert swd.losses.pdm_linear.__module__ == "swd.losses.patch"
    assert set(swd.__all__) <= set(dir(swd))
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        swd.sampel  # noqa: B018
