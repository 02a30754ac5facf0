"""`impasto --install-completion`: bash, zsh and fish complete commands and options."""

from collections.abc import Callable
from typing import Literal

from cyclopts import App
from cyclopts.completion import detect_shell
from cyclopts.completion.detect import ShellDetectionError

from impasto.cli.streams import print_err, print_out
from impasto.errors import OutputError, SpecError

Shell = Literal["bash", "zsh", "fish"]


def installs_completion(app: App) -> Callable[..., None]:
    """The command that installs the completion of `app`; call the command after `app` has got all its commands."""

    def install_completion(*, shell: Shell | None = None) -> None:
        """Let the shell complete commands and options: writes a file for it, and a line into its start-up file.

        Parameters
        ----------
        shell
            By default the shell that is running.

        """
        try:
            print_out(app.install_completion(shell=shell or detect_shell(), add_to_startup=True))
        except ShellDetectionError:
            raise SpecError(
                "the shell that is running cannot be found; name it with --shell bash, zsh or fish"
            ) from None
        except OSError as error:
            raise OutputError(f"the completion cannot be written: {error}") from None
        print_err("a new shell completes commands and options")

    return install_completion
