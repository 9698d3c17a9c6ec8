"""GPUs through NVIDIA's own bindings, down to a library that the linker finds: a stand-in that these tests compile.

Each program runs in a process of its own, because a library is loaded once in the life of a process.
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

TWO = """\
count 2
0.name NVIDIA H200
0.uuid GPU-aaaa0000
0.utilization 57
0.memory 150000000000 40000000000
0.temperature 45
0.power 251500
0.compute {pid}:1000 1:77
0.graphics {pid}:1000
1.name NVIDIA H200
1.uuid GPU-bbbb0000
1.utilization 3
1.memory 150000000000 0
1.compute 1:77
1.graphics
"""
NAMES = (
    "index",
    "name",
    "utilization_percent",
    "memory_used_bytes",
    "memory_total_bytes",
    "temperature_celsius",
    "power_watts",
    "process_memory_bytes",
    "uuid",
)
LOOK = """
    import json, logging, os, sys
    from pathlib import Path
    logging.basicConfig(format="%(levelname)s %(message)s")
    said = Path(os.environ["NVML_STUB"])
    said.write_text(said.read_text().replace("{pid}", str(os.getpid())))
    from analytics_sdk.capture.gpus import Gpus, describe_gpus
    def look():
        print(json.dumps(gpus.sample([os.getpid()])), flush=True)
    gpus = Gpus()
"""


def compile_stub(folder: Path, *flags: str) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("no C compiler, and CI has all tools")
        pytest.skip("no C compiler is installed")
    source = Path(__file__).with_name("nvml_stub.c")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-Wall", "-Werror", *flags, "-o", library, source], check=True)
    return folder


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver library of today."""
    return compile_stub(tmp_path_factory.mktemp("driver"))


class Machine:
    """A machine whose GPUs are as a text says."""

    def __init__(self, driver: Path, folder: Path) -> None:
        self._driver, self._folder = driver, folder

    def run(self, gpus: str, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program there; its working folder is empty at first."""
        (self._folder / "gpus").write_text(gpus)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANALYTICS_SDK_", "CUDA_"))}
        stub = {"LD_LIBRARY_PATH": str(self._driver), "NVML_STUB": str(self._folder / "gpus")}
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            cwd=self._folder,
            env={**kept, **stub, "NVML_STUB_LOG": str(self._folder / "log"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    def look(self, gpus: str, code: str = "", **environment: str) -> tuple[list[Any], str]:
        """Each GPU by name of measurement, for each look of the program; and what it logged."""
        done = self.run(gpus, textwrap.dedent(LOOK) + (textwrap.dedent(code) or "look()"), **environment)
        assert done.returncode == 0, done.stderr
        looks = [json.loads(line) for line in done.stdout.splitlines()]
        return [seen and [dict(zip(NAMES, gpu, strict=True)) for gpu in seen] for seen in looks], done.stderr

    @property
    def log(self) -> list[list[str]]:
        """What the library noted: words of initialising and shutting down, each with the process."""
        return [line.split() for line in (self._folder / "log").read_text().splitlines()]


@pytest.fixture
def machine(driver: Path, tmp_path: Path) -> Machine:
    return Machine(driver, tmp_path)


def nothing_known(gpu: dict[str, Any]) -> bool:
    return all(gpu[name] is None for name in NAMES[2:-1])


def test_everything_that_nvml_tells_is_told_in_our_units(machine: Machine) -> None:
    """Watts and not milliwatts; a process that computes and draws holds its memory once."""
    ((first, second),), said = machine.look(TWO)
    assert first == {
        "index": 0,
        "name": "NVIDIA H200",
        "utilization_percent": 57.0,
        "memory_used_bytes": 40_000_000_000,
        "memory_total_bytes": 150_000_000_000,
        "temperature_celsius": 45.0,
        "power_watts": 251.5,
        "process_memory_bytes": 1000,
        "uuid": "GPU-aaaa0000",
    }
    assert (second["utilization_percent"], second["memory_used_bytes"]) == (3.0, 0)
    assert (second["temperature_celsius"], second["power_watts"]) == (None, None)
    assert said == ""


def test_a_process_that_nvml_does_not_list_holds_nothing_where_the_numbers_are_comparable(machine: Machine) -> None:
    """In a container they are not: it may be listed under another number, or not at all, so nothing is known."""
    ((_, second),), _ = machine.look(TWO)
    comparable = os.readlink("/proc/self/ns/pid") == "pid:[4026531836]"
    assert second["process_memory_bytes"] == (0 if comparable else None)


@pytest.mark.parametrize("listed", ["{pid}:unknown", "{pid}:500 {pid}:unknown"])
def test_memory_that_nvml_does_not_know_is_not_a_number(machine: Machine, listed: str) -> None:
    """Neither 2**64 - 1 nor a part of the truth."""
    ((gpu,),), _ = machine.look(f"count 1\n0.name G\n0.compute {listed}\n0.graphics\n")
    assert gpu["process_memory_bytes"] is None


def test_a_gpu_that_supports_nothing_is_listed_with_nothing(machine: Machine) -> None:
    """And without a word in the log."""
    ((gpu,),), said = machine.look("count 1\n")
    assert (gpu["index"], gpu["name"]) == (0, "GPU")
    assert nothing_known(gpu)
    assert said == ""


def test_an_older_driver_lists_processes_too(tmp_path: Path) -> None:
    """It has the functions of the version before."""
    (tmp_path / "old").mkdir()
    machine = Machine(compile_stub(tmp_path / "old", "-DOLD_DRIVER"), tmp_path)
    import pynvml

    if not hasattr(pynvml, "nvmlDeviceGetComputeRunningProcesses_v2"):
        pytest.skip("these bindings do not know the functions of the version before")
    ((first, _),), said = machine.look(TWO)
    assert (first["process_memory_bytes"], said) == (1000, "")


def test_a_gpu_that_falls_off_the_bus_is_told_once_and_the_others_go_on(machine: Machine) -> None:
    looks, said = machine.look(
        TWO,
        """
        look()
        said.write_text(said.read_text() + "0.lost 15\\n")
        look()
        look()
        """,
    )
    assert [look[0]["utilization_percent"] for look in looks] == [57.0, None, None]
    assert nothing_known(looks[1][0]) and looks[1][0]["name"] == "NVIDIA H200"
    assert [look[1]["utilization_percent"] for look in looks] == [3.0, 3.0, 3.0]
    assert said == "WARNING GPU 0 does not tell everything: GPU is lost\n"


@pytest.mark.parametrize(("number", "word"), [(4, "Insufficient Permissions"), (15, "GPU is lost")])
def test_a_gpu_that_may_not_be_touched_is_left_out_and_the_others_keep_their_number(
    machine: Machine, number: int, word: str
) -> None:
    """NVML counts them all the same."""
    ((only,),), said = machine.look(TWO + f"0.handle {number}\n")
    assert (only["index"], only["uuid"]) == (1, "GPU-bbbb0000")
    assert said == f"WARNING GPU 0 does not tell everything: {word}\n"
    ((only,),), _ = machine.look(TWO + f"0.handle {number}\n", CUDA_VISIBLE_DEVICES="0")
    assert only["index"] == 1


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (18, "the NVIDIA driver does not answer: RM has detected an NVML/RM version mismatch."),
        (9, "no NVIDIA driver: Driver Not Loaded"),
        (4, "the NVIDIA driver does not answer: Insufficient Permissions"),
        (321, "the NVIDIA driver does not answer: NVML Error with code 321"),
    ],
)
def test_a_driver_that_does_not_work_is_a_reason_and_no_trouble(machine: Machine, number: int, reason: str) -> None:
    done = machine.run(TWO + f"init {number}\n", LOOK + "    print(gpus.sample([]), describe_gpus())")
    assert (done.stdout, done.stderr) == (f"None ([], {reason!r})\n", "")


@pytest.mark.parametrize(
    ("environment", "uuids"),
    [
        ({}, ["GPU-aaaa0000", "GPU-bbbb0000"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-bbbb0000"]),
        ({"CUDA_VISIBLE_DEVICES": "GPU-b"}, ["GPU-bbbb0000"]),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, ["GPU-bbbb0000", "GPU-aaaa0000"]),
    ],
)
def test_only_visible_gpus_are_asked(machine: Machine, environment: dict[str, str], uuids: list[str]) -> None:
    (seen,), _ = machine.look(TWO, **environment)
    assert [gpu["uuid"] for gpu in seen] == uuids


def test_with_no_visible_gpu_nothing_is_looked_at(machine: Machine) -> None:
    done = machine.run(TWO, LOOK + "    print(gpus.sample([]), describe_gpus())", CUDA_VISIBLE_DEVICES="-1")
    assert (done.stdout, done.stderr) == ("None ([], 'CUDA_VISIBLE_DEVICES shows none')\n", "")


MIG = """\
count 1
0.name NVIDIA H200
0.uuid GPU-aaaa0000
0.memory 150000000000 0
0.mig 1
0.instances 7
0.0.uuid MIG-1111
0.0.gi 7
0.0.ci 0
0.2.name NVIDIA H200 MIG 1g.18gb
0.2.uuid MIG-2222
0.2.gi 9
0.2.ci 0
0.2.memory 18000000000 5000000000
0.2.compute {pid}:12
0.2.graphics
"""


@pytest.mark.parametrize("name", ["MIG-2222", "MIG-22", "MIG-GPU-aaaa0000/9/0"])
def test_a_mig_instance_tells_of_itself(machine: Machine, name: str) -> None:
    """Its own memory, and not that of the whole GPU; what NVML does not know of instances is None."""
    ((gpu,),), said = machine.look(MIG, CUDA_VISIBLE_DEVICES=name)
    assert (gpu["index"], gpu["name"], gpu["uuid"]) == (0, "NVIDIA H200 MIG 1g.18gb", "MIG-2222")
    assert (gpu["memory_used_bytes"], gpu["memory_total_bytes"]) == (5_000_000_000, 18_000_000_000)
    assert (gpu["utilization_percent"], gpu["process_memory_bytes"], said) == (None, 12, "")


def test_a_forked_child_opens_nvml_anew(machine: Machine) -> None:
    """It never asks through what its parent had opened, and leaves that alone."""
    looks, said = machine.look(
        TWO,
        """
        child = os.fork()
        if child == 0:
            gpus = Gpus()
            look()
            gpus.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        look()
        gpus.close()
        """,
    )
    assert [look[0]["utilization_percent"] for look in looks] == [57.0, 57.0]
    assert said == ""
    parent = machine.log[0][1]
    child = machine.log[1][1]
    assert parent != child
    assert machine.log == [
        ["init", parent],
        ["shutdown", child],
        ["init", child],
        ["shutdown", child],
        ["shutdown", parent],
    ]


PROGRAM = """
    import threading
    from analytics_sdk import configure, track_step, track_workflow
    system = configure(sink="sqlite:///analytics.db", resource_interval_seconds=0.1)
    system.start_resource_monitoring()
    with track_workflow(workflow_id="train"):
        with track_step(node_id="epoch"):
            for _ in range(300):
                met = [one for one in system.stats()["resources"]["steps"] if one["samples"] >= 2]
                if met:
                    break
                threading.Event().wait(0.02)
        with track_step(node_id="too short to be met"):
            pass
    assert met
    system.stop_resource_monitoring()
"""


def test_from_the_driver_to_the_statistics(machine: Machine, tmp_path: Path) -> None:
    """A program with a GPU is sampled by step, journaled and shipped, and another process reads what it used."""
    done = machine.run(TWO, PROGRAM)
    assert (done.returncode, done.stderr) == (0, "")
    assert [word for word, _ in machine.log] == ["init", "shutdown"]
    command = [sys.executable, "-m", "analytics_sdk", "stats", "--json", "--db", f"sqlite:///{tmp_path}/analytics.db"]
    read = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    resources = json.loads(read.stdout)["resources"]
    first, second = resources["gpus"]
    assert (first["name"], first["uuid"], first["utilization_percent_avg"]) == ("NVIDIA H200", "GPU-aaaa0000", 57.0)
    assert (second["power_watts_max"], second["utilization_percent_max"]) == (None, 3.0)
    (step,) = resources["steps"]
    assert (step["workflow_id"], step["node_id"], step["gpu_utilization_percent_avg"]) == ("train", "epoch", 30.0)
    assert step["samples"] >= 2 and step["shared"] == 0 and step["rss_bytes_max"] > 1_000_000


def test_doctor_names_the_gpus_or_says_why_there_are_none(machine: Machine) -> None:
    """Neither is a fault."""
    doctor = "import sys; sys.argv[1:] = ['doctor', '--json']; from analytics_sdk.cli import main; main()"

    def found(done: subprocess.CompletedProcess[str]) -> tuple[bool, str]:
        (line,) = [one for one in json.loads(done.stdout)["findings"] if one["subject"] == "GPU"]
        return line["ok"], line["text"]

    assert found(machine.run(TWO, doctor)) == (True, "NVIDIA H200, NVIDIA H200")
    lost = machine.run("init 9\n", doctor)
    assert found(lost) == (True, "none (no NVIDIA driver: Driver Not Loaded)")
