"""The AWS session of a command: boto3's default one, or that of ``--profile``.

Separate because each command may be asked for a profile, and every client has to be of it.
"""

from __future__ import annotations

from typing import Any

import boto3


def use(profile: str) -> None:
    """Ask AWS as a profile of ~/.aws from now on, whatever credentials the environment has.

    Raises:
        BotoCoreError: There is no such profile.
    """
    boto3.setup_default_session(profile_name=profile)


def session() -> Any:
    """The session that ``boto3.client`` uses: one for the whole command.

    A new one would read the profiles and the descriptions of AWS's services again for each client.
    """
    if boto3.DEFAULT_SESSION is None:
        boto3.setup_default_session()
    return boto3.DEFAULT_SESSION
