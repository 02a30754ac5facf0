"""`impasto studio`: options and help of the command; `impasto.studio` does the work."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from impasto.cli.groups import GROUPS
from impasto.cli.options import Switch, Whole
from impasto.cli.streams import print_err, print_out

PASSWORD = "IMPASTO_STUDIO_PASSWORD"


def studio(
    *,
    runs: Path = Path("runs"),
    port: Annotated[Whole, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    host: str = "127.0.0.1",
    password: Annotated[str | None, Parameter(show_default=False)] = None,
    network: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    no_browser: Switch = False,
) -> None:
    """A page in the browser on which a picture is painted before your eyes, and you take the brush.

    Only this machine reaches the page, and nothing is sent anywhere. Ctrl-C ends the studio; the run that is being
    painted keeps its picture so far, and the studio offers to resume the run next time.

    Parameters
    ----------
    runs
        Folder of the runs; uploaded pictures are kept in its subfolder uploads.
    port
        Port of the page; 0 takes one that is free.
    host
        Address to listen on. Another than 127.0.0.1 lets other machines reach the page, and needs a password.
    password
        Password that the page asks for; better in the variable IMPASTO_STUDIO_PASSWORD, since others see options.
    network
        A network that is code of yours, such as file.py:factory or torchvision:NAME, which settings may choose; may be
        repeated. Without it the page takes only networks of impasto's own.
    no_browser
        Do not open the page in the browser; its address is printed in any case.

    """
    import webbrowser

    from impasto.studio.app import Address
    from impasto.studio.app import studio as opened

    address = Address(host, port, password or os.environ.get(PASSWORD) or None)
    with opened(runs, address, GROUPS, network) as (url, serve):
        print_out(url)
        print_err("Ctrl-C ends the studio")
        if not no_browser:
            webbrowser.open(url)
        serve()
