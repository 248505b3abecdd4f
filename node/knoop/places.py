"""Where the account's password is. Reads the environment, so that no other module of this half has to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from knoop import credential, installed
from knoop.config import Config
from knoop_hw.errors import ConfigError, Problem

PASSWORD_CREDENTIAL = "xmpp.password"  # noqa: S105 -- the name of a credential, not one
PLAIN_CREDENTIAL = "xmpp.password.plain"  # of each name systemd passes only one
STORE = "store it as the credential 'xmpp.password' (docs/setup.md)"


def password(config: Config) -> str:
    """The account's password from systemd's credential or `password_file`. Raises ConfigError with the remedy.

    Root finds that of the service, too, for commands beside it (`sudo knoop doctor`).
    """
    try:
        passed = _passed()
    except (OSError, UnicodeDecodeError) as error:
        raise _no_password(config, f"the credential that systemd passed cannot be read: {error}") from None
    if passed:
        return passed
    source = config.xmpp.password_file
    if not source:
        return _of_the_service(config)
    try:
        mode = stat.S_IMODE(source.stat().st_mode)
        if mode & 0o077:
            raise _no_password(config, f"{source} can be read by others (mode {mode:o}); run: chmod 600 {source}")
        text = source.read_text(encoding="utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise _no_password(config, f"{source} does not exist; put the account's password into it, mode 600") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _no_password(config, f"{source} cannot be read: {error}") from None
    if not text:
        raise _no_password(config, f"{source} is empty; put the account's password into it")
    return text


def _passed() -> str:
    """What systemd passed, if it passed one: knoop.service has a blank line where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    files = [Path(folder, name) for name in (PASSWORD_CREDENTIAL, PLAIN_CREDENTIAL)] if folder else []
    texts = (file.read_text(encoding="utf-8").rstrip("\r\n") for file in files if file.is_file())
    return next((text for text in texts if text), "")


def _of_the_service(config: Config) -> str:
    """What its unit would be given: only root may see that."""
    ours = installed.is_of(config.file)
    try:
        if ours and (secret := credential.read(PASSWORD_CREDENTIAL)):
            return secret
    except PermissionError:
        if os.environ.get("CREDENTIALS_DIRECTORY"):  # we are the service
            raise _no_password(config, f"no password: {STORE}, or name a file in 'password_file'") from None
        text = "the password is the service's, and only root may look; say it again with sudo: sudo knoop doctor"
        raise _no_password(config, text) from None
    except (OSError, UnicodeDecodeError) as error:
        raise _no_password(config, f"the service's password cannot be read: {error}; {STORE}") from None
    if ours:
        raise _no_password(config, f"no password: {STORE}, or name a file in 'password_file'")
    raise _no_password(config, "no password: name a file in 'password_file', or give the credential 'xmpp.password'")


def _no_password(config: Config, text: str) -> ConfigError:
    return ConfigError([Problem(str(config.file), 0, "xmpp.password_file", text)])
