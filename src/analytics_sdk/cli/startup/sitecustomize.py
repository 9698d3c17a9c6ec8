"""Runs at the start of every Python that `analytics-sdk run` starts, and of the Pythons that those start.

It stands alone in its folder, because that folder is put first on PYTHONPATH. It takes the folder off `sys.path`, lets
the host's own sitecustomize run as if this one were not there, and then waits: analytics_sdk is imported when a module
that is to be tracked is, and not before. Nothing here raises into the host.

The order stands as JSON in ANALYTICS_SDK_RUN; `analytics_sdk.cli.run.make_order` describes it.
"""

import os
import sys

TYPE_CHECKING = False  # as in typing, which is not imported because every started Python would pay for it
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

VARIABLE = "ANALYTICS_SDK_RUN"


class Watch:
    """A finder that finds nothing: it sees the import of a module to be tracked coming, and prepares for it."""

    def __init__(self, order: "dict[str, Any]") -> None:
        self.order = order
        self.pid = os.getpid()
        self.main = dict(order["main"])
        self.waiting = set(order["modules"])
        self.instrumented: list[Any] = []
        self.problems: list[str] = []

    def begin(self) -> None:
        if any(module in sys.modules for module in self.waiting):
            self.instrument_imports()
        elif self.waiting:
            sys.meta_path.insert(0, self)
        if self.main:
            self.watch_main()
        if self.pid == self.order["pid"]:  # because only the program itself speaks at its end, not what it starts
            import atexit

            atexit.register(self.report)

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        """Never a spec of our own: the one that the other finders have, once we are prepared."""
        if name not in self.waiting:
            return None
        try:
            sys.meta_path.remove(self)
        except ValueError:
            return None  # because another thread was faster
        self.instrument_imports()
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                return spec
        return None

    def watch_main(self) -> None:
        """Track classes of the program's own script, which nothing imports: they are seen when they are built."""
        import builtins

        python: Any = builtins
        build_class = python.__build_class__

        def build_and_track(func: "Any", name: str, *bases: "Any", **options: "Any") -> "Any":
            built = build_class(func, name, *bases, **options)
            if name in self.main and getattr(func, "__globals__", {}).get("__name__") == "__main__":
                self.instrument(built, self.main.pop(name)["options"])
                if not self.main and python.__build_class__ is build_and_track:
                    python.__build_class__ = build_class
            return built

        python.__build_class__ = build_and_track

    def instrument_imports(self) -> None:
        self.waiting = set()
        self.instrument(self.order["target"], self.order["options"])

    def instrument(self, target: object, options: "dict[str, Any]") -> None:
        try:
            from analytics_sdk.capture.patching import auto_instrument

            self.instrumented.append(auto_instrument(target, **options))
        except ImportError as error:
            self.problems.append(f"{sys.executable} cannot import analytics_sdk ({error}); install it there")
        except Exception as error:
            self.problems.append(str(error))

    def report(self) -> None:
        """One line that names what was to be tracked and never appeared."""
        if os.getpid() != self.pid:
            return  # because a fork of the program is not the program
        unseen = list(self.order["places"]) if self.waiting else []
        for instrumentation in self.instrumented:
            unseen += instrumentation.pending
            self.problems += instrumentation.failed.values()
        unseen += [order["place"] for order in self.main.values()]
        if "json_to" in self.order:
            self.report_as_json(unseen)
            return
        if unseen:
            self.problems.append(f"never appeared: {', '.join(unseen)}; nothing of it was recorded")
        if self.problems and sys.stderr is not None:
            from contextlib import suppress

            with suppress(Exception):  # because the program may have closed its stderr, and is ending anyway
                sys.stderr.write(f"analytics-sdk: {' - '.join(self.problems)}".replace("\n", " ") + "\n")

    def report_as_json(self, unseen: "list[str]") -> None:
        """The same as one object on the stdout that `run` was started with, where the program has not closed it."""
        import json
        from contextlib import suppress

        fd, device, inode = self.order["json_to"]
        places = [*self.order["places"], *(one["place"] for one in json.loads(os.environ[VARIABLE])["main"].values())]
        said = {
            "tracked": [place for place in places if place not in unseen],
            "never_appeared": unseen,
            "problems": self.problems,
        }
        with suppress(OSError):
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) == (device, inode):
                os.write(fd, (json.dumps(said) + "\n").encode())


def step_aside() -> None:
    """Take our folder off `sys.path`. It stays on PYTHONPATH, for the Pythons that this one starts."""
    folder = os.path.realpath(os.path.dirname(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != folder]


def begin_watch() -> None:
    """Obey the order, where there is one and nobody has switched us off."""
    try:
        import json

        text = os.environ.get(VARIABLE)
        if text and os.environ.get("ANALYTICS_SDK_DISABLED", "").strip().lower() != "true":
            Watch(json.loads(text)).begin()
    except Exception as error:
        sys.stderr.write(f"analytics-sdk: nothing will be recorded: {type(error).__name__}: {error}\n")


def run_the_hosts_own() -> None:
    """Run the sitecustomize that Python would have found without us, if there is one. What it raises is its own."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    ours = sys.modules["sitecustomize"]
    module = sys.modules["sitecustomize"] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules["sitecustomize"] = ours
        raise


step_aside()
begin_watch()
run_the_hosts_own()
