"""Search program: `python run_search.py experiments/demo.yaml`. See `--help`."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main() -> None:
    """Run the search, after checking that `datasets` is this project's package and not the library of that name."""
    sys.path.insert(0, str(ROOT))
    found = importlib.util.find_spec("datasets")
    if found is None or found.origin is None or Path(found.origin).parent != ROOT / "datasets":
        where = found.origin if found else "nowhere"
        print(f"the package `datasets` was found at {where}, but must come from {ROOT / 'datasets'}", file=sys.stderr)
        sys.exit(2)
    from search.cli.requirements import checked_requirements

    with checked_requirements(sys.argv[0]):
        from search.cli.main import search_command

        search_command(prog_name="run_search.py", complete_var="_SEARCH_COMPLETE")


if __name__ == "__main__":
    main()
