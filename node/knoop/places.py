"""Where the account's password is. Reads the environment, so that no other module of this half has to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from knoop.config import Config
from knoop_hw.errors import ConfigError, Problem

PASSWORD_CREDENTIAL = "xmpp.password"  # noqa: S105 -- the name of a credential, not one


def password(config: Config) -> str:
    """The account's password from systemd's credential or `password_file`. Raises ConfigError with the remedy."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if folder and (Path(folder) / PASSWORD_CREDENTIAL).is_file():
        source = Path(folder) / PASSWORD_CREDENTIAL
    elif config.xmpp.password_file:
        source = config.xmpp.password_file
    else:
        text = "no password: name a file in 'password_file', or give the credential 'xmpp.password'"
        raise _no_password(config, text)
    try:
        mode = stat.S_IMODE(source.stat().st_mode)
        if mode & 0o077 and not folder:
            raise _no_password(config, f"{source} can be read by others (mode {mode:o}); run: chmod 600 {source}")
        text = source.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise _no_password(config, f"{source} does not exist; put the account's password into it, mode 600") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _no_password(config, f"{source} cannot be read: {error}") from None
    if not text:
        raise _no_password(config, f"{source} is empty; put the account's password into it")
    return text


def _no_password(config: Config, text: str) -> ConfigError:
    return ConfigError([Problem(str(config.file), 0, "xmpp.password_file", text)])
