"""How every tool starts: Hydra configuration in, one job called, errors as one line.

The only place where hydra is imported.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from occflow.errors import InputError

KEYED = re.compile(r"[~+]{0,2}[A-Za-z_][\w./@]*=|~")  # what Hydra takes for an override
CONFIG_DIR = Path(__file__).resolve().parents[1] / "configs"


def compose_config(overrides: list[str], config_name: str = "config") -> dict:
    """The resolved configuration for Hydra overrides such as `log.root=PATH`, as plain dictionaries and lists.

    Raises:
        InputError: an unknown key, group or malformed override.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        with hydra.initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            config = hydra.compose(config_name, overrides)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"configuration: {reason} (--help shows every key)") from None
    return plain


def run(job: Callable[[dict], None], description: str | None = None, argument: str | None = None) -> None:
    """Compose the configuration from the command line and run `job(config)`.

    Args:
        argument: the key that a first argument without a key stands for (python viz/player.py RUN).

    Exit status: 0 success, 2 bad input (one line on stderr), 130 interrupted.
    """
    arguments = sys.argv[1:]
    try:
        if arguments and arguments[0] in ("-h", "--help"):
            print((description or "").strip())
            print(f"\nUsage: {Path(sys.argv[0]).name} [KEY=VALUE ...]   (Hydra overrides)\n\nConfiguration:")
            print(json.dumps(compose_config(arguments[1:]), indent=2))
            return
        if argument and arguments and not KEYED.match(arguments[0]):
            quoted = arguments[0].replace("\\", "\\\\").replace("'", "\\'")  # Hydra's own quoting
            arguments[0] = f"{argument}='{quoted}'"
        job(compose_config(arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: nothing half-written was left behind", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or 'no file named'}", file=sys.stderr)
        sys.exit(2)
