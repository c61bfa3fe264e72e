"""Run the project as a module or as the command ``daf-pipelines``."""

from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Run the pipelines from the command line."""
    package = Path(__file__).parent.name
    configure_project(package)
    find_run_command(package)(prog_name="daf-pipelines run")


if __name__ == "__main__":
    main()
