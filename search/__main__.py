"""Entry point of `python -m search`."""

from search.cli.requirements import checked_requirements

with checked_requirements("python -m search"):
    from search.cli.main import main

    main(prog_name="python -m search", complete_var="_SEARCH_COMPLETE")
