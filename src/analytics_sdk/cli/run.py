"""`analytics-sdk run`: watch a program that nobody may edit.

It prepares the environment and then becomes the program, so that exit code, signals and terminal are the program's own.
What happens inside stands in `startup/sitecustomize.py`.
"""

import json as jsons
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from analytics_sdk.cli.guidance import epilog
from analytics_sdk.cli.store import Json
from analytics_sdk.config import ENVIRONMENT_PREFIX, find_pyproject, resolve
from analytics_sdk.errors import SettingError, TargetError

EPILOG = epilog(
    [
        "run --loop app.loop:ExecutionLoop -- python app.py",
        "run --workflow jobs:run_job --step jobs:run_step -- pytest",
        "run -- python app.py --its own",
    ],
    {0: "and any other: what the program itself ended with"},
    json='{"tracked", "never_appeared", "problems"}, at the end of the program, whose own output then goes to stderr',
)
VARIABLE = "ANALYTICS_SDK_RUN"
STARTUP = Path(__file__).parent / "startup"
ROLES = ("workflow", "step", "recovery")
KEYS = ("loop", *ROLES, "threads")


def run(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="The program and its arguments, behind --.")],
    loop: Annotated[str | None, typer.Option(metavar="pkg.mod:Class", help="Whose methods are tracked.")] = None,
    workflow: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="Runs a workflow. [default: execute_workflow]")
    ] = None,
    step: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="Runs one step. [default: _execute_node]")
    ] = None,
    recovery: Annotated[
        list[str] | None, typer.Option(metavar="METHOD", help="Tries to heal. A method, or pkg.mod:Class.method.")
    ] = None,
    threads: Annotated[
        bool | None, typer.Option("--threads/--no-threads", help="Threads started inside belong to the execution.")
    ] = None,
    db: Annotated[str | None, typer.Option(metavar="URL", help="Where records go.")] = None,
    json: Json = False,
) -> None:
    """Run a program and record its workflows, without editing it. It keeps its exit code, signals and terminal; at its
    end it is said which targets never appeared."""
    given = {"loop": loop, "workflow": workflow, "step": step, "recovery": recovery, "threads": threads}
    wanted = {**read_instrument_table(), **{key: value for key, value in given.items() if value is not None}}
    command = spell_out(command)
    order = make_order(wanted, main_name(command))
    if json:
        order["json_to"] = hand_over_stdout()
    environment = prepare_environment(os.environ, order, db)
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        if json:
            os.dup2(order["json_to"][0], 1)
        raise TargetError(f"{command[0]} cannot be run: {error.strerror}; check the command after --") from None


def hand_over_stdout() -> tuple[int, int, int]:
    """Send what the program prints to stderr, and keep the real stdout open for what is said at its end.

    The descriptor of that, and its file's device and inode, because a program may close what it does not know and give
    the number to another file.
    """
    kept = os.dup(1)
    os.set_inheritable(kept, True)
    os.dup2(2, 1)
    found = os.fstat(kept)
    return kept, found.st_dev, found.st_ino


def read_instrument_table(start: Path | None = None) -> dict[str, Any]:
    """`[tool.analytics_sdk.instrument]` of the nearest pyproject.toml at or above the working folder.

    Raises:
        SettingError: the file is no TOML, or the table holds a key that is not known.
    """
    file, section = find_pyproject(start)
    table: dict[str, Any] = section.get("instrument", {})
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        raise SettingError(
            f"{file} has unknown keys {', '.join(unknown)} in [tool.analytics_sdk.instrument]; "
            f"the keys are {', '.join(KEYS)}"
        )
    return dict(table)


def spell_out(command: Sequence[str]) -> list[str]:
    """The command as the system can run it: `-m module` and a script that is no program get a Python in front."""
    first = command[0]
    if first == "-m" or (first.endswith(".py") and not (os.access(first, os.X_OK) and os.sep in first)):
        return [sys.executable, *command]
    if first in ("python", "python3") and shutil.which(first) is None:
        return [sys.executable, *command[1:]]
    return list(command)


def main_name(command: Sequence[str]) -> str | None:
    """The module name that the program's own script would have if it were imported; None for no Python script."""
    if not os.path.basename(command[0]).startswith(("python", "pypy")):
        return None
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, None)
        if argument == "-c":
            return "__main__"
        if argument in ("-W", "-X"):
            next(arguments, None)
        elif not argument.startswith("-"):
            return Path(argument).stem
    return None


def make_order(wanted: Mapping[str, Any], main: str | None) -> dict[str, Any]:
    """What the started Pythons are to do, as it travels in the environment.

    `target` and `options` are arguments of `auto_instrument` for what gets imported, once one of `modules` does; `main`
    has, by class name, the options for classes of the program's own script. `places` names the former for people.

    Raises:
        TargetError: nothing to track was named, or something that is no place.
    """
    loop = wanted.get("loop")
    named = {role: [full_place(loop, place) for place in _listed(role, wanted.get(role))] for role in ROLES}
    if loop is None and not any(named.values()):
        raise TargetError(
            "nothing to track was named; say --loop pkg.mod:Class, or fill [tool.analytics_sdk.instrument]"
        )
    places = [*([loop] if loop else []), *(place for role in ROLES for place in named[role])]
    modules = {place: module_of(place) for place in places}
    in_main = {place for place in places if main is not None and modules[place] in ("__main__", main)}
    main_loop = loop.partition(":")[2] if loop is not None and loop in in_main else None
    classes: dict[str, dict[str, list[str]]] = {main_loop: {}} if main_loop else {}
    for role in ROLES:
        for place in [place for place in named[role] if place in in_main]:
            owner, _, name = place.partition(":")[2].rpartition(".")
            if not owner:
                raise TargetError(
                    f"{place} is a function of the script itself; only methods of its classes can be tracked"
                )
            classes.setdefault(owner, {}).setdefault(role, []).append(name)
    threads = bool(wanted.get("threads"))
    target = loop if loop not in in_main else None
    imported = {role: [place for place in named[role] if place not in in_main] for role in ROLES}
    return {
        "target": target,
        "options": _options(imported, threads, has_defaults=target is not None),
        "modules": sorted({modules[place] for place in places if place not in in_main}),
        "places": [place for place in places if place not in in_main],
        "main": {
            owner: {"place": f"{main}:{owner}", "options": _options(by_role, threads, has_defaults=owner == main_loop)}
            for owner, by_role in classes.items()
        },
    }


def _options(places: Mapping[str, list[str]], threads: bool, has_defaults: bool) -> dict[str, Any]:
    """Arguments for `auto_instrument`. A role without a place is left to its default name, or to nothing at all."""
    options: dict[str, Any] = {role: places.get(role, []) for role in ROLES if places.get(role) or not has_defaults}
    return {**options, "threads": threads}


def _listed(role: str, value: object) -> list[str]:
    listed = [value] if isinstance(value, str) else value or []
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise TargetError(
            f"{role} is a method name, a place such as pkg.mod:Class.method, or a list of these, not {value!r}"
        )
    return listed


def full_place(loop: str | None, place: str) -> str:
    """A method name as a place, `pkg.mod:Class.method`; a place stays as it is."""
    if ":" in place:
        return place
    if loop is None:
        raise TargetError(f"{place} needs --loop pkg.mod:Class, or its whole place such as pkg.mod:Class.{place}")
    return f"{loop}.{place}" if ":" in loop else f"{loop}:{place}"


def module_of(place: str) -> str:
    """The module of a place.

    Raises:
        TargetError: it is no place.
    """
    module, _, path = place.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *(path.split(".") if path else ()))):
        raise TargetError(f"{place!r} is no place; write it as pkg.mod:Class or pkg.mod:Class.method")
    return module


def prepare_environment(host: Mapping[str, str], order: Mapping[str, Any], db: str | None) -> dict[str, str]:
    """The host's environment with the order in it, our folder first on PYTHONPATH, and the sink as an absolute URL."""
    environment = dict(host)
    environment[VARIABLE] = jsons.dumps({**order, "pid": os.getpid()})
    environment["PYTHONPATH"] = os.pathsep.join([str(STARTUP), *filter(None, [host.get("PYTHONPATH")])])
    sink = resolve({"sink": db}).sink
    if isinstance(sink, str):
        environment[ENVIRONMENT_PREFIX + "SINK"] = sink
    return environment
