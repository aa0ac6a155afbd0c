import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each module belongs to the longest prefix; a module imports its own layer and lower ones.
CORE = (
    "command_words",
    "errors",
    "features",
    "files",
    "flow",
    "grid",
    "growth",
    "guidance",
    "images",
    "interrupts",
    "locks",
    "predictor",
    "progressive",
    "resize",
    "rng",
    "sampler",
    "schedule",
    "spectra",
    "spectral_budget",
    "tensors",
    "values",
)
LAYERS = {
    **{f"swd.{name}": 0 for name in CORE},
    "swd.losses": 1,
    "swd.kernels": 1,
    "swd.lora": 2,
    "swd.backbones": 3,
    "swd.pipelines": 3,
    "swd.cost": 4,
    "swd.data": 5,
    "swd.training": 6,
    "swd.train": 7,
    "swd.cache": 7,
    "swd.export": 7,
}
# Third-party packages by the lowest layer that may meet them.
FROM_LAYER = {"peft": 2, "diffusers": 3, "transformers": 3, "tqdm": 5, "accelerate": 6, "tyro": 7}
# One family of networks: its folder, the door for users, and its line in the registry may name it.
FAMILIES = {
    # ComfyUI calls its node for 16 channels EmptySD3LatentImage, whatever the network; diffusers has a SD35AdaLayerNorm
    "sd3": re.compile(r"(?<!Empty)SD3(?!\.5|5Ada)|StableDiffusion3|TextCondition|\bsd3\b"),
    "flux": re.compile(r"Flux(Backbone|Condition|Denoiser|Transformer)|ScalewiseFlux|backbones\.flux"),
    "sdxl": re.compile(r"SDXL[A-Z]\w|StableDiffusionXL|backbones\.sdxl"),
}
FAMILY_DOORS = {"swd.pipelines", "swd.backbones", "swd.lora.released"}
HARNESS_LIBRARIES = {"numpy", "pandas", "scipy", "matplotlib", "tabulate", "repro"} | sys.stdlib_module_names
HARNESS_LIBRARIES |= {
    "swd.grid",
    "swd.schedule",
    "swd.errors",
    "swd.training.config",
    "swd.training.options",
    "swd.command_words",
    "swd.values",
}  # declarations name their options
TABLE_LIBRARIES = {
    "repro.harness",
    "repro.kinds",
    "repro.profiles.systems",
    "repro._ablation_claims",
    "repro._ablations",
    "swd.schedule",
} | sys.stdlib_module_names
# Folders of repro in the order in which they may import; the tools of a world stand above what they use.
REPRO_LAYERS = {
    "repro.harness": 0,
    "repro.profiles": 1,
    "repro.metrics": 2,
    "repro.worlds": 3,
    "repro.stages": 4,
    "repro.study": 4,
    "repro.kinds": 5,
    "repro": 6,
    "repro.worlds.mini": 7,
}
# files of a kind that may meet torch
HEAVY = {
    "measure",
    "counts",
    "timed_pipeline",
    "timed_rows",
    "timed_sources",
    "timed_systems",
    "training",
    "work",
    "row_source",
    "given_sources",
    "sources",
    "planned",
}
HEAVY |= {
    "cards",
    "cases",
    "distances",
    "grids",
    "latents",
    "lines",
    "network_source",
    "panel_spectra",
    "scoring",
    "site",
    "units",
}
# the study reads prompt files and images as everything does, and by no world
STUDY_LIBRARIES = {"repro.harness", "repro.study", "repro.worlds.prompts", "swd.images"} | sys.stdlib_module_names
STUDY_EXTRA = {  # third-party packages of its files: the extra `study`, Pillow, and what drives the browser
    "app": {"starlette"},
    "guard": {"starlette"},
    "pages": {"starlette", "jinja2"},
    "serving": {"starlette", "uvicorn"},
    "checks": {"PIL"},
    "screenshots": {"playwright", "starlette", "uvicorn"},
}
WORLD_DOORS = {
    "repro.worlds.base",
    "repro.worlds.sources",
    "repro.worlds.references",
}  # what a world is, and images of any; the rest are worlds


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, whole_file: bool = True) -> Iterator[tuple[int, str]]:
    """Imported modules with their lines; only those that run when the module is imported, unless ``whole_file``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if whole_file else _at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            source = str(node.module)
            for alias in node.names:
                deeper = (ROOT / source.replace(".", "/") / alias.name).with_suffix("")
                is_module = deeper.is_dir() or deeper.with_suffix(".py").is_file()
                yield node.lineno, f"{source}.{alias.name}" if is_module else source


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _at_import(child)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def layer(module: str, layers: dict[str, int] = LAYERS) -> int:
    return layers[max((prefix for prefix in layers if within(module, prefix)), key=len)]


def offences(path: Path, allowed: set[str]) -> list[str]:
    return [
        f"{path.name}:{line} imports {module}"
        for line, module in imports(path)
        if not any(within(module, name) for name in allowed)
    ]


def id_of(path: Path) -> str:
    return name_of(path)


SWD = [path for path in modules("swd") if name_of(path) != "swd"]


@pytest.mark.parametrize("path", SWD, ids=id_of)
def test_swd_imports_downwards(path: Path) -> None:
    own = layer(name_of(path))
    for line, module in imports(path):
        top = module.partition(".")[0]
        assert top not in {"repro", "benchmarks", "tests"}, f"{path}:{line} imports {module}"
        if within(module, "swd") and module != "swd":
            assert layer(module) <= own, f"{path}:{line}: layer {own} imports {module} of layer {layer(module)}"
        assert own >= FROM_LAYER.get(top, 0), f"{path}:{line}: {top} belongs to layer {FROM_LAYER.get(top)} and above"


def test_the_package_itself_imports_nothing() -> None:
    assert not [
        module for _, module in imports(ROOT / "swd" / "__init__.py", whole_file=False) if within(module, "swd")
    ]


@pytest.mark.parametrize("package", ["swd", "repro"])
def test_no_two_folders_import_each_other(package: str) -> None:
    files = modules(package)
    folders = {name_of(path.parent / "__init__.py") for path in files} - {package}

    def folder(module: str) -> str:
        return max((known for known in folders if within(module, known)), key=len, default="")

    edges = {(folder(name_of(path)), folder(module)) for path in files for _, module in imports(path)}
    both = {tuple(sorted(edge)) for edge in edges if edge[::-1] in edges and edge[0] != edge[1] and "" not in edge}
    assert not both


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("path", SWD, ids=id_of)
def test_one_family_is_named_in_its_folder_alone(path: Path, family: str) -> None:
    name, pattern = name_of(path), FAMILIES[family]
    home = f"swd.backbones.{family}"
    assert name != f"{home}.backbone" or pattern.search(path.read_text(encoding="utf-8")), "the rule looks for nothing"
    if name in FAMILY_DOORS or within(name, home):
        return
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    named = [f"{path}:{number}: {line.strip()}" for number, line in lines if pattern.search(line)]
    assert not named, "ask the Backbone instead:\n" + "\n".join(named)


TENSORS = {"torch", "torchvision", "diffusers", "transformers", "peft", "safetensors", "open_clip", "accelerate"}
REPRO = modules("repro")
KINDS = modules("repro/kinds")


@pytest.mark.parametrize("path", REPRO, ids=id_of)
def test_repro_imports_downwards(path: Path) -> None:
    own = layer(name_of(path), REPRO_LAYERS)
    for line, module in imports(path):
        assert module.partition(".")[0] not in {"benchmarks", "tests"}, f"{path}:{line} imports {module}"
        if within(module, "repro"):
            assert layer(module, REPRO_LAYERS) <= own, f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", modules("repro/harness"), ids=id_of)
def test_harness_renders_without_torch(path: Path) -> None:
    assert not offences(path, HARNESS_LIBRARIES - {"repro"} | {"repro.harness"})


@pytest.mark.parametrize("path", [path for path in KINDS if path.stem not in HEAVY], ids=id_of)
def test_kinds_declare_and_show_without_torch(path: Path) -> None:
    light = [module for _, module in imports(path) if module.rpartition(".")[2] in HEAVY and within(module, "repro")]
    assert not light
    assert not offences(path, HARNESS_LIBRARIES - {"repro"} | {"repro.harness", "repro.kinds"})


@pytest.mark.parametrize("path", modules("repro/study"), ids=id_of)
def test_the_study_needs_no_torch_and_meets_its_extra_where_it_serves(path: Path) -> None:
    allowed = STUDY_LIBRARIES | STUDY_EXTRA.get(path.stem, set())
    assert not offences(path, allowed)


@pytest.mark.parametrize("path", KINDS, ids=id_of)
def test_a_kind_imports_no_other(path: Path) -> None:
    own = ".".join(name_of(path).split(".")[:3])
    others = [module for _, module in imports(path) if within(module, "repro.kinds") and not within(module, own)]
    assert not others


@pytest.mark.parametrize("path", modules("repro/kinds", "repro/stages", "repro/metrics"), ids=id_of)
def test_kinds_stages_and_metrics_know_no_world_by_name(path: Path) -> None:
    named = [module for _, module in imports(path) if within(module, "repro.worlds") and module not in WORLD_DOORS]
    assert not named


TABLES = [path for path in REPRO if path.parent.name == "repro" and not path.stem.startswith("_")]


@pytest.mark.parametrize("path", TABLES, ids=id_of)
def test_tables_declare_and_never_meet(path: Path) -> None:
    """But for a variant, `table2_extended`, which is made of the table that it extends."""
    base = path.stem.partition("_")[0]
    extended = {f"repro.{base}"} if base != path.stem and path.with_name(f"{base}.py") in TABLES else set()
    assert not offences(path, TABLE_LIBRARIES | extended)
    declared = [module for _, module in imports(path) if within(module, "repro.kinds")]
    assert all(module.endswith(".declare") for module in declared), declared
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loops = [node.lineno for node in tree.body if isinstance(node, ast.For | ast.While | ast.With)]
    assert not loops, f"{path}: a table declares, but has statements at lines {loops}"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import repro.__main__, repro.harness.render, repro.profiles", "torch"),
        ("from repro import experiments; experiments()", "torch"),
        ("import repro.__main__, repro.study.export, repro.study.status, repro.study.access", "starlette"),
        ("from repro.kinds import kinds; kinds()", "numpy"),
        ("import swd", "torch"),
        ("import swd; swd.ScaleSchedule, swd.sample", "diffusers"),
        ("import swd.backbones", "torch"),
        ("from swd.backbones import backbone_named; backbone_named('sd3')", "diffusers"),
        ("import swd.losses", "diffusers"),
    ],
)
def test_light_imports_stay_light(code: str, absent: str) -> None:
    check = f"{code}; import sys; sys.exit({absent!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)


def test_mypy_reads_the_library_and_whatever_has_no_torch() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    named = [path for pattern in options["files"] for path in ROOT.glob(pattern)]
    read = {file for path in named for file in ([path] if path.is_file() else path.rglob("*.py"))}
    loose = [path for path in REPRO if not {module.partition(".")[0] for _, module in imports(path)} & TENSORS]
    wanted = {
        path for path in {*modules("swd"), *loose} if len(ast.parse(path.read_text()).body) > 1
    }  # not a docstring
    assert not sorted(name_of(path) for path in wanted - read)


def test_the_rules_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import json\ndef late():\n    import torch.nn\n    from repro.worlds.mini.scenes import oracle\n")
    assert offences(path, HARNESS_LIBRARIES - {"repro"}) == [
        "bad.py:3 imports torch.nn",
        "bad.py:4 imports repro.worlds.mini.scenes.oracle",
    ]
    assert [module for _, module in imports(path, whole_file=False)] == ["json"]
