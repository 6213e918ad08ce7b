"""``stylize-doctor`` as a command."""

from __future__ import annotations

from typing import Annotated

import typer

from stylize_video.console import errors_as_sentences, run_command
from stylize_video.text import printable

EXIT_NOT_WORKING = 1

_WIDTH = 26


def stylize_doctor(
    device: Annotated[
        str, typer.Option(help="The device that must work: auto, cpu, cuda, cuda:INDEX.")
    ] = "auto",
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and log more.")] = False,
) -> None:
    """Try everything that stylize-video needs, and say what to install.

    Exit code 1 where something is broken, or where the device asked for does not work.
    """
    with errors_as_sentences(debug=debug):
        from stylize_video.doctor.checks import TOPICS, check_device, device_problem, examine

        check_device(device)
        broken = False
        for title in TOPICS:
            print(title)
            for finding in examine(title, device):
                broken = broken or finding.state == "broken"
                print(printable(f"  {finding.state:8} {finding.topic:{_WIDTH}} {finding.fact}"))
                if finding.advice and finding.state != "ok":
                    print(printable(f"  {'':8} {'':{_WIDTH}} → {finding.advice}"))
        if problem := device_problem(device):
            print(f"\n--device {device} does not work: {printable(problem)}")
            raise typer.Exit(EXIT_NOT_WORKING)
        from stylize_video.styles.device import resolve_device

        chosen = resolve_device(device)
        print(f"\n--device {device} runs on {chosen}")
        if broken:
            raise typer.Exit(EXIT_NOT_WORKING)


def main() -> None:
    """Entry point of ``stylize-doctor``."""
    run_command(stylize_doctor)
