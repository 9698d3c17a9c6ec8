"""Runs at the start of every Python that `analytics-sdk run` starts, and of the Pythons that those start.

It stands alone in its folder, because that folder is put first on PYTHONPATH. It takes the folder off `sys.path`, lets
the host's own sitecustomize run as if this one were not there, and then waits: analytics_sdk is imported when a module
that is to be tracked is, and not before. Nothing here ever raises into the host.
"""

import os
import sys

VARIABLE = "ANALYTICS_SDK_RUN"


def _let_the_hosts_own_run() -> None:
    """Import the sitecustomize that Python would have found without us, if there is one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    folder = os.path.realpath(os.path.dirname(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != folder]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    ours = sys.modules["sitecustomize"]
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules["sitecustomize"] = ours
        raise


class _Watch:
    """A finder that finds nothing: it sees the import of a module to be tracked coming, and prepares for it."""

    def __init__(self, order: dict) -> None:
        self.order = order
        self.pid = os.getpid()
        self.modules = set(order["modules"])
        self.instrumentation = None
        self.problem = None

    def find_spec(self, name, path=None, target=None):
        if name not in self.modules:
            return None
        sys.meta_path.remove(self)  # because it is needed once, and must not see the imports made by _instrument
        self._instrument()
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_spec", None)
            spec = find and find(name, path, target)
            if spec is not None:
                return spec
        return None

    def watch_main(self) -> None:
        """Track classes of the program's own script: nothing imports it, but its classes are built."""
        import builtins

        wanted = {place.partition(":")[2].split(".")[0] for place in self.order["main"]}
        build_class = builtins.__build_class__

        def build_and_track(func, name, *bases, **options):
            built = build_class(func, name, *bases, **options)
            if name in wanted and getattr(built, "__qualname__", "") == name and built.__module__ == "__main__":
                wanted.discard(name)
                if not wanted and builtins.__build_class__ is build_and_track:
                    builtins.__build_class__ = build_class
                self._instrument_class(built)
            return built

        builtins.__build_class__ = build_and_track
