"""A private ejabberd on loopback: own state, own certificates, gone when its user is.

It is Debian's package (23.01 in Debian 12), run without `ejabberdctl`: one Erlang machine without distribution, so
that there is no epmd, no cookie and no name on the network. The machine's own ejabberd, its configuration under /etc
and its data under /var are never read or written.
"""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from knoop_bench.certificates import Certificate
from knoop_bench.errors import ServerFailed
from knoop_bench.ports import LOOPBACK, free_ports
from knoop_bench.server import Server

ANSWER_S = 10.0  # making an account takes milliseconds; a busy board may be slow
_LIBRARIES = ("/usr/lib", "*/ejabberd-*/ebin/ejabberd.app")  # Debian's place, whatever the architecture and version


class Ejabberd(Server):
    """What `Server` says. `settings` are further settings of the whole server, `modules` of single modules; both win.

    Everybody with an account may make nodes on the service, as Debian's configuration has it; PEP and the
    service keep as many items as a node asks for. New rooms show real JIDs, and keep no log.
    """

    NAME: ClassVar[str] = "ejabberd"
    STOP_S: ClassVar[float] = 10.0  # its supervisors need 2.3 s on an idle machine
    PROGRAMS: ClassVar[Mapping[str, str]] = {"erl": "ejabberd"}

    def __init__(
        self, folder: Path, accounts: Mapping[str, str] | None = None, *,
        settings: Mapping[str, Any] | None = None, modules: Mapping[str, Mapping[str, Any]] | None = None, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(folder, accounts, **more)
        self._settings = dict(settings or {})
        self._modules = dict(modules or {})
        self._api_port = free_ports(1)[0]
        self._api_path = f"/{secrets.token_urlsafe(24)}"  # who knows it may make accounts; only the folder tells

    async def start(self) -> None:
        """Serve; returns when both ports answer and every account is there. Does nothing while it runs."""
        if self.pid is None:
            await super().start()
            for user, password in self._accounts.items():
                self.add_account(user, password)

    def add_account(self, user: str, password: str) -> str:
        """Make or change an account; before the start it is remembered. Returns its bare JID."""
        self._accounts[user] = password
        if self.pid is not None:
            account = {"user": user, "host": self.host}
            if self._api("register", {**account, "password": password}) == http.HTTPStatus.CONFLICT:
                self._api("change_password", {**account, "newpass": password})
        return self.jid(user)

    def _api(self, call: str, arguments: Mapping[str, str]) -> int:
        connection = http.client.HTTPConnection(LOOPBACK, self._api_port, timeout=ANSWER_S)
        try:
            connection.request("POST", f"{self._api_path}/{call}", json.dumps(arguments))
            answer = connection.getresponse()
            said = answer.read().decode("utf-8", "replace")
        except OSError as error:
            raise self._failed(f"ejabberd does not take '{call}': {error}") from None
        finally:
            connection.close()
        if answer.status not in {http.HTTPStatus.OK, http.HTTPStatus.CONFLICT}:
            raise self._failed(f"ejabberd refused '{call}': {answer.status} {said}")
        return answer.status

    def _configure(self, certificate: Certificate) -> None:
        # YAML takes JSON as it is, and JSON needs no thought about quoting.
        text = json.dumps(self._everything(certificate), indent=1)
        file = self.folder / "ejabberd.yml"
        file.touch(0o600)
        file.write_text(text, "utf-8")

    def _command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        database = str(self.folder / "data").replace("\\", "\\\\").replace('"', '\\"')
        environment = {
            "EJABBERD_CONFIG_PATH": str(self.folder / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.log_file),
            "CONTRIB_MODULES_PATH": str(self.folder / "contrib"),
            "ERL_LIBS": str(_libraries()),
            "ERL_CRASH_DUMP_SECONDS": "0",
        }
        # Schedulers that spin while they wait would take CPU from what is measured beside it.
        return ("erl", "-noinput", "+sbwt", "none", "-mnesia", "dir", f'"{database}"', "-s", "ejabberd"), environment

    def _require(self) -> None:
        super()._require()
        _libraries()

    def _everything(self, certificate: Certificate) -> Mapping[str, Any]:
        tls = {"ip": LOOPBACK, "tls": True}
        return {
            "hosts": [self.host],
            "loglevel": "info",
            "log_rotate_count": 0,
            "certfiles": [str(certificate.file), str(certificate.key_file)],
            "listen": [
                {"module": "ejabberd_c2s", "port": self.starttls_port, "ip": LOOPBACK, "starttls_required": True},
                {"module": "ejabberd_c2s", "port": self.tls_port, **tls},
                {
                    "module": "ejabberd_http", "port": self.https_port, **tls,
                    "request_handlers": {"/upload": "mod_http_upload"},
                },
                {
                    "module": "ejabberd_http", "port": self._api_port, "ip": LOOPBACK,
                    "request_handlers": {self._api_path: "mod_http_api"},
                },
            ],
            "auth_method": "internal",
            "auth_password_format": "scram",
            "disable_sasl_mechanisms": ["PLAIN", "DIGEST-MD5", "X-OAUTH2"],
            "acl": {"local": {"user_regexp": ""}},
            "access_rules": {"local": {"allow": "local"}},
            "api_permissions": {
                "accounts": {"from": "mod_http_api", "who": "all", "what": ["register", "change_password"]},
            },
            **self._settings,
            "modules": {name: {**own, **self._modules.get(name, {})} for name, own in self._module_table().items()},
        }

    def _module_table(self) -> dict[str, dict[str, Any]]:
        named: dict[str, dict[str, Any]] = {name: {} for name in (*_PLAIN_MODULES, *self._modules)}
        return {
            **named,
            "mod_http_upload": {
                "host": "upload.@HOST@", "docroot": str(self.folder / "uploads"),
                "put_url": f"https://{self.host}:{self.https_port}/upload",
            },
            "mod_mam": {"default": "always"},
            "mod_muc": {"host": "rooms.@HOST@", "default_room_options": {"anonymous": False}},
            "mod_pubsub": {"host": self.pubsub, "access_createnode": "local", "plugins": ["flat", "pep"]},
            "mod_stream_mgmt": {"resend_on_timeout": "if_offline"},
            "mod_vcard": {"search": False},
        }


_PLAIN_MODULES = (
    "mod_admin_extra", "mod_blocking", "mod_caps", "mod_carboncopy", "mod_client_state", "mod_disco", "mod_http_api",
    "mod_last", "mod_offline", "mod_ping", "mod_privacy", "mod_private", "mod_roster", "mod_time", "mod_version",
)


def _libraries() -> Path:
    """The folder of Erlang's libraries that ejabberd is one of."""
    root, pattern = _LIBRARIES
    found = sorted(Path(root).glob(pattern))
    if not found:
        raise ServerFailed(
            "ejabberd is not installed: run `bench/debian-packages ejabberd`, which installs it"
            " without starting a system server"
        )
    return found[-1].parents[2]
