"""`python run_search.py experiments/demo.yaml`: see `--help`."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Runs the search, once it is sure that `datasets` is this project's and not the library of that name."""
    sys.path.insert(0, str(ROOT))
    found = importlib.util.find_spec("datasets")
    if found is None or found.origin is None or Path(found.origin).parent != ROOT / "datasets":
        where = found.origin if found else "nowhere"
        print(f"the package `datasets` is found at {where}, but must be {ROOT / 'datasets'}", file=sys.stderr)
        sys.exit(2)
    from search.cli.main import search_command

    search_command(prog_name="run_search.py", complete_var="_SEARCH_COMPLETE")


if __name__ == "__main__":
    main()
