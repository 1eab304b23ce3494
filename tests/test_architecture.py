"""Imports point one way, Ray stays at the edge, and every folder says what lives there."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@cache
def imports(path):
    """Every module a file imports, anywhere in it, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def users_of(package, folder):
    """Files of a folder that import a package."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return {
        str(file.relative_to(ROOT))
        for file in files
        if any(n == package or n.startswith(f"{package}.") for n in imports(file))
    }


def test_one_file_of_the_trainer_knows_ray():
    assert users_of("ray", "trainer") == {"trainer/workers/ray_worker.py"}
    of_studies = {file for file in users_of("ray", "studies") if not file.startswith("studies/executors/")}
    assert of_studies == {"studies/doctor/cluster_probe.py"}
    neutral = {"face", "failure_kinds", "process", "worker_process", "gpu_slots"}
    assert not users_of("ray", "studies") & {f"studies/executors/{name}.py" for name in neutral}


def test_the_study_knows_its_executors_by_their_face():
    """Only the driver opens one; what decides knows none."""
    for module, users in (
        ("ray_tune", {"studies/running/driver.py"}),
        ("process", {"studies/running/driver.py"}),
        ("face", {"studies/running/driver.py", "studies/running/conductor.py"}),
    ):
        known = {
            file
            for file in users_of(f"studies.executors.{module}", "studies")
            if not file.startswith("studies/executors/")
        }
        assert known == users, module
    assert not list(users_of("studies.executors", "studies/engine"))
    used = {n for n in imports(ROOT / "studies" / "running" / "conductor.py") if n.startswith("studies.executors")}
    assert all(n.startswith("studies.executors.face") for n in used), used


def test_imports_point_one_way():
    for package in ("studies", "analysis", "search_spaces"):
        assert users_of(package, "trainer") == set()
    assert users_of("analysis", "studies") == {
        "studies/command/cli.py",
        "studies/command/resolved.py",
        "studies/result.py",
    }  # the report at the end, and its tables in a notebook
    for package in ("studies", "search_spaces", "torch", "ray"):
        assert users_of(package, "analysis") == set()
    allowed = {
        "trainer", "trainer.record.run", "trainer.record.run_lines", "trainer.record.study_lines", "trainer.errors",
        "trainer.command.cli", "trainer.command.terminal", "trainer.record.registration", "trainer.record.resolvable",
        "trainer.record.looks", "trainer.record.copies", "trainer.record.dotted", "trainer.subspace.names",
        "trainer.mirrors.wandb_key", "trainer.record.probing",
    }  # fmt: skip
    for file in (ROOT / "analysis").rglob("*.py"):
        used = {n for n in imports(file) if n.startswith("trainer")}
        assert all(
            any(n == a or n.startswith(f"{a}.") for a in allowed - {"trainer"}) or n == "trainer" for n in used
        ), (file, used)
    above = {
        "config": (
            "blocks",
            "losses",
            "data",
            "probes",
            "subspace",
            "families",
            "fast",
            "loop",
            "step",
            "method",
            "source",
        ),
        "blocks": ("losses", "data", "probes", "subspace", "families", "fast", "loop", "step", "method", "source"),
        "losses": ("blocks", "probes", "subspace", "families", "fast", "loop", "step", "method", "source"),
        "data": ("blocks", "losses", "probes", "subspace", "families", "fast", "loop", "step", "method"),
        "probes": ("blocks", "losses", "subspace", "families", "fast", "loop", "step", "method"),
        "subspace": ("blocks", "losses", "families", "fast", "loop", "step", "method"),
        "families": ("fast", "loop", "step"),
        "fast": ("families", "loop", "probes", "subspace"),
        "record": (
            "blocks",
            "losses",
            "data",
            "probes",
            "fast",
            "loop",
            "step",
            "method",
            "source",
            "mirrors",
            "workers",
        ),
        "mirrors": ("blocks", "losses", "data", "probes", "fast", "loop", "step", "method", "source", "workers"),
    }
    for lower, uppers in above.items():
        for upper in uppers:
            assert users_of(f"trainer.{upper}", f"trainer/{lower}") == set(), (lower, upper)


def test_rooms_of_the_analysis_stand_in_order():
    """What is read and computed knows nothing of how it is shown."""
    order = ["recorded", "statistics", "frames", "rendering", "sentences", "tables", "figures"]
    for place, lower in enumerate(order):
        for upper in [*order[place + 1 :], "page", "report", "experiment", "commands"]:
            assert users_of(f"analysis.{upper}", f"analysis/{lower}") == set(), (lower, upper)


def test_everything_that_makes_a_step_faster_is_behind_one_door():
    outside = users_of("trainer.fast", "trainer") - users_of("trainer.fast", "trainer/fast")
    assert outside == {"trainer/loop.py", "trainer/placing.py"}
    assert users_of("trainer.fast", "studies") == set()


def test_only_a_family_names_itself():
    """The rest of the trainer reaches a family through its faces."""
    users = {file for file in users_of("trainer.families", "trainer") if not file.startswith("trainer/families/")}
    for file in users:
        assert not any(name.startswith("trainer.families.seq_jepa") for name in imports(ROOT / file)), file


def test_clusters_stand_beside_the_product():
    """Renting knows only the command line's manners, nothing knows renting, and Ray is met in its two interfaces."""
    for folder in ("trainer", "studies", "search_spaces", "analysis"):
        assert users_of("clusters", folder) == set()
    assert users_of("ray", "clusters") == {"clusters/vast/provider.py", "clusters/vast/runner.py"}
    assert users_of("pyarrow", "clusters") == {"clusters/bucket/store.py"}
    assert users_of("clusters.vast", "clusters/bucket") == set()
    for package in ("torch", "studies", "analysis", "search_spaces"):
        assert users_of(package, "clusters") == set()
    used = {n for file in (ROOT / "clusters").rglob("*.py") for n in imports(file) if n.startswith("trainer.")}
    assert all(n.startswith(("trainer.command.cli", "trainer.errors", "trainer.record.lock")) for n in used), used


def test_planning_and_records_import_neither_torch_nor_optuna():
    light = [
        "trainer/config/run.py",
        "trainer/config/data.py",
        "trainer/record/identity.py",
        "trainer/record/run.py",
        "trainer/gates.py",
        "studies/engine/plan.py",
        "studies/command/cli.py",
        "studies/command/options.py",
        "studies/engine/stopping/ladder.py",
        "studies/engine/search.py",
    ]
    for name in light:
        assert not {n.partition(".")[0] for n in imports(ROOT / name)} & {"torch", "ray", "optuna"}, name


def test_every_folder_says_what_lives_there_and_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 800
    packages = ("trainer", "studies", "search_spaces", "analysis", "clusters")
    folders = {file.parent for top in packages for file in (ROOT / top).rglob("*.py")}
    assert len(folders) > 40
    for folder in sorted(folders | {ROOT / "tests", ROOT / "analysis" / "reference"}):
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert len(page.splitlines()) <= 60, folder
        if folder.name != "tests":
            assert re.search(r"(?i)\b(one more|to add|another|further)\b", page), f"{folder}: how is one added?"


def test_links_and_files_that_the_pages_name_are_there():
    pages = [
        ROOT / "README.md",
        *(
            page
            for top in ("trainer", "studies", "search_spaces", "clusters", "analysis", "tests")
            for page in (ROOT / top).rglob("*.md")
        ),
    ]
    missing = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        names = [
            name.partition("#")[0]
            for name in re.findall(r"\]\(([^)\s]+)\)", text)
            if not name.startswith(("http", "#"))
        ]
        missing += [f"{page.relative_to(ROOT)}: {name}" for name in names if not (page.parent / name).exists()]
        # my_study.py is the reader's own
        files = re.findall(r"`((?:tests|trainer|studies|analysis|search_spaces)/[\w/.-]+\.\w+|\w+\.py)`", text)
        missing += [
            f"{page.relative_to(ROOT)}: {name}"
            for name in files
            if name != "my_study.py" and not ((ROOT / name).exists() or list(page.parent.rglob(name)))
        ]
    assert missing == []
