"""occflow: one-step sparse occupancy forecasting from driving logs.

What a program needs is here (docs/python.md, docs/risk.md): load, open_log, build, open_store, perceiver, probability,
planned_path, Footprint, risk, show. Each is read from occflow.front_door when it is asked for, so that importing
occflow loads no library.
"""

import importlib

__version__ = "0.1.0"
__all__ = ["Footprint", "build", "load", "open_log", "open_store", "perceiver", "planned_path", "probability", "risk",
           "show"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module 'occflow' has no attribute '{name}'")
    return getattr(importlib.import_module("occflow.front_door"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
