"""``stylize-doctor`` as a command."""

from __future__ import annotations

from typing import Annotated

import typer

from stylize_video.console import errors_as_sentences, run_command

EXIT_NOT_WORKING = 1


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
        from stylize_video.doctor.checks import TOPICS
        from stylize_video.errors import DeviceError
        from stylize_video.session import resolve_device

        broken = False
        for title, findings in TOPICS:
            print(title)
            for finding in findings(device):
                broken = broken or finding.state == "broken"
                print(f"  {finding.state:8} {finding.topic:24} {finding.fact}")
                if finding.advice:
                    print(f"  {'':8} {'':24} → {finding.advice}")
        try:
            chosen = resolve_device(device)
        except DeviceError as error:
            print(f"\n--device {device} does not work: {error}")
            raise typer.Exit(EXIT_NOT_WORKING) from error
        print(f"\n--device {device} runs on {chosen}")
        if broken:
            raise typer.Exit(EXIT_NOT_WORKING)


def main() -> None:
    """Entry point of ``stylize-doctor``."""
    run_command(stylize_doctor)
