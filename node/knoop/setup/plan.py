"""From what lies on the card, and what the node knows already, to what is to be; or every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from knoop import commands, config, credential, files, invitation, places
from knoop.config import Config
from knoop.setup import buses, card, imager, moved, wifi
from knoop.setup.account import used
from knoop.setup.card import Card, Draft
from knoop.setup.imager import Given
from knoop.setup.machine import Machine
from knoop.setup.tables import Account
from knoop.setup.wifi import Radio
from knoop.xmpp import account as accounts
from knoop.xmpp import compat
from knoop_hw import decode
from knoop_hw.errors import ConfigError

WPA = "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
ZONES = "usr/share/zoneinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be. `node` is the new node.toml, None where the card names no node: then that stays as it is; `beside`
    are files of the card that it names.

    `password` and `invite` are news, or ''. `waits`: the account is still to be made. `wipe`: the bytes of each file.
    """

    wifi: str = field(repr=False)
    zone: str
    servers: tuple[str, ...]
    keys: tuple[str, ...]
    hostname: str
    node: str | None = field(repr=False)
    beside: Mapping[str, str]
    buses: str | None
    password: str = field(repr=False)
    invite: str = field(repr=False)
    waits: bool
    wipe: Mapping[str, tuple[moved.Span, ...]]
    notes: tuple[str, ...]


def made(found: Mapping[str, bytes], machine: Machine) -> Plan:
    """What these files ask for. Raises ConfigError with every mistake, in the card's own lines, or OSError."""
    return _Planner(card.read(found.get(card.NAME, b"")), imager.read({
        name: content for name, content in found.items() if name != card.NAME
    }), found, machine).plan()


class _Planner:
    def __init__(self, read: Card, given: Given, found: Mapping[str, bytes], machine: Machine) -> None:
        self._card, self._given, self._found, self._machine = read, given, found, machine
        self._problems = [*read.problems]
        self._former = _data(machine.node)
        self._waiting = _data(machine.pending) if machine.pending.exists() else {}

    def plan(self) -> Plan:
        own, given, notes = self._card.own, self._given, [*self._given.notes]
        wpa = self._wifi()
        zone = self._zone()
        jid, password, invite, waits = self._account()
        draft = loaded = None
        if self._card.names_a_node:
            draft = self._draft(jid)
            loaded = self._checked(draft) if draft else None
        if self._problems:
            raise ConfigError(self._problems)
        wipe = {card.NAME: self._card.secrets} if self._card.secrets else {}
        for name, secrets in given.secrets.items():
            spans, all_found = imager.spans(self._found[name], secrets)
            wipe |= {name: spans} if spans else {}
            if not all_found:
                notes.append(f"{name} has a secret in a spelling that cannot be written over: delete that file")
        return Plan(
            wifi=wpa, zone=zone, servers=own.time.servers if own.time else (),
            keys=own.ssh.lines if own.ssh else given.keys, hostname=loaded.node.name if loaded else given.hostname,
            node=draft.text if draft else None, beside=self._beside(),
            buses=self._buses(loaded) if loaded else None, password=password, invite=invite, waits=waits, wipe=wipe,
            notes=tuple(notes),
        )  # fmt: skip

    def _wrong(self, place: tuple[str | int, ...], text: str) -> None:
        self._problems.append(self._card.document.problem(place, text))

    def _xmpp(self) -> Mapping[str, Any]:
        """What the card's [xmpp] says."""
        xmpp = self._card.document.data.get("xmpp")
        return xmpp if isinstance(xmpp, Mapping) else {}

    def _wifi(self) -> str:
        """wpa_supplicant's file, '' without any Wi-Fi."""
        known = wifi.keys_in(self._machine.read(self._machine.root / WPA))
        own, radios = self._card.own.wifi, []
        if own is not None:
            for index, network in enumerate(own.networks):
                ssid, psk = network.ssid.encode(), ""
                if moved.was(network.password):
                    if not (psk := known.get(ssid, "")):
                        listed = index - bool(own.ssid)
                        place = ("wifi", "network", listed, "password") if listed >= 0 else ("wifi", "password")
                        self._wrong(place, f"the node does not know the password of “{network.ssid}”; write it here")
                elif network.password:
                    psk = wifi.key(ssid, network.password)
                radios.append(Radio(ssid=ssid, psk=psk, hidden=network.hidden))
            return wifi.conf(radios, own.country or self._given.country)
        for radio in self._given.radios:
            if radio.ssid not in self._given.moved:
                radios.append(radio)
            elif radio.ssid in known:
                radios.append(replace(radio, psk=known[radio.ssid]))
        return wifi.conf(radios, self._given.country) if radios else ""

    def _zone(self) -> str:
        own = self._card.own.time
        zone = own.zone if own and own.zone else self._given.zone
        zones = self._machine.root / ZONES
        if not zone or not zones.is_dir() or _within(zones, zone):
            return zone
        if own and own.zone:
            known = [str(file.relative_to(zones)) for file in zones.glob("[A-Z]*/*")]
            self._wrong(("time", "zone"), f"there is no time zone '{zone}'; {decode.suggest(zone, known)}")
        return ""

    def _account(self) -> tuple[str, str, str, bool]:
        """The address for node.toml ('': it has its own), a new password, a new invite, whether it is to be made."""
        data, account, xmpp = self._card.document.data, self._card.own.account, self._xmpp()
        if "password_file" in xmpp:  # of the account that was there before the credential would be left
            self._wrong(("xmpp", "password_file"), "here the password stands in [account]; leave this out")
            return "", "", "", False
        if "account" not in data:
            own = xmpp.get("jid")
            if isinstance(own, str) and not self._knows(own):
                self._wrong(("xmpp", "jid"), f"there is no password for {own}; write it here: [account] password")
            return "", "", "", False
        if account is None:  # what is wrong with it has been said
            return "", "", "", False
        if account.jid and "jid" in xmpp:
            self._wrong(("xmpp", "jid"), "the address stands in [account] as well; leave it out here")
        if account.invite:
            return self._invited(account)
        if account.password and not moved.was(account.password):
            return account.jid, account.password, "", False
        if not self._knows(account.jid):
            self._wrong(("account", "password"), f"the node does not know the password of {account.jid}; write it here")
        return account.jid, "", "", False

    def _invited(self, account: Account) -> tuple[str, str, str, bool]:
        if moved.was(account.invite) or used(self._machine, account.invite):
            if jid := _jid(self._waiting):  # not made yet: it may have another name
                return self._on(account.jid, jid.rpartition("@")[2]) or jid, "", "", True
            jid = _jid(self._former)
            if jid and (not account.jid or _bare(account.jid) == _bare(jid)):
                return jid, "", "", False
            self._wrong(("account", "invite"), "the node does not know it any more; write an invite here again")
            return "", "", "", False
        link = invitation.parse(account.invite)
        if account.jid:
            return self._on(account.jid, link.domain), "", account.invite, True
        node = self._card.document.data.get("node", {})
        name = node.get("name", self._given.hostname) if isinstance(node, Mapping) else ""
        local = link.local or name  # without any the node's own file is told for it
        return f"{local}@{link.domain}" if local else "", "", account.invite, True

    def _on(self, jid: str, domain: str) -> str:
        """The address, which is to be at that server."""
        if jid and _bare(jid).rpartition("@")[2] != _bare(domain):
            self._wrong(("account", "jid"), f"the invite is for an account on {domain}")
        return jid

    def _knows(self, jid: str) -> bool:
        """Whether the password that is kept is this account's."""
        former = _jid(self._former)
        kept = credential.find(places.PASSWORD_CREDENTIAL, root=self._machine.root)
        return kept is not None and bool(former) and _bare(former) == _bare(jid)

    def _draft(self, jid: str) -> Draft | None:
        former = self._waiting or self._former
        try:
            return card.node_toml(self._card, former, jid=jid, name=self._given.hostname)
        except ConfigError as error:
            self._problems += error.problems
            return None

    def _checked(self, draft: Draft) -> Config | None:
        """As the node will read it, in the folder where it will lie."""
        path = self._machine.node.with_name(".node.toml.card")
        self._machine.put(path, draft.text, mode=0o600)
        beside = self._beside()
        brought = [name for name in beside if not path.with_name(name).exists()]  # one there may be in use
        for name in brought:
            self._machine.put(path.with_name(name), beside[name], shared=True)
        try:
            loaded = config.load(path, jid=compat.jid, words=commands.words())
            self._authority(loaded)
            return loaded
        except ConfigError as error:
            said = [card.as_of_the_card(one, draft, self._card) if one.file == str(path) else one
                    for one in error.problems]
            heard = {(one.line, one.text) for one in self._problems}
            no_jid = [one for one in said if (one.path, one.text) == ("xmpp", "'jid' is missing")]
            said = [one for one in said if one not in no_jid]
            if no_jid and "account" not in self._card.document.data:  # else what is wrong there has been said
                self._wrong(("account",), "is missing: the node's own account, as jid and password, or as an invite")
            if self._lacks_authority():
                said = [one for one in said if one.path != "xmpp.ca_file"]
            self._problems += [one for one in said if (one.line, one.text) not in heard]
            return None
        finally:
            for name in (path.name, *brought):
                files.remove(path.with_name(name))

    def _lacks_authority(self) -> bool:
        """Whether the CA is named that neither the card nor the node has; then that is said."""
        name = self._xmpp().get("ca_file")
        if not isinstance(name, str) or Path(name).name != name or self._machine.node.with_name(name).exists():
            return False
        self._wrong(("xmpp", "ca_file"), f"{name} does not lie beside knoop.toml: copy the CA's certificate there, as "
                                         "PEM, with a name that ends in .pem, .crt or .cer")  # fmt: skip
        return True

    def _authority(self, loaded: Config) -> None:
        """A node with a CA that is none would end at its start."""
        wanted = accounts.Account.of(loaded, "")
        if not wanted.ca_file:
            return
        if wanted.ca_file.name in self._beside():
            wanted = replace(wanted, ca_file=self._machine.boot / wanted.ca_file.name)
        try:
            accounts.tls_context(wanted)
        except ConfigError as error:
            self._wrong(("xmpp", "ca_file"), error.problems[0].text)

    def _beside(self) -> Mapping[str, str]:
        """The CA's certificate, where it lies on the card beside knoop.toml: nobody but root reads it there."""
        name = self._xmpp().get("ca_file")
        there = self._machine.authorities()
        return {name: there[name].decode("utf-8", "replace")} if isinstance(name, str) and name in there else {}

    def _buses(self, loaded: Config) -> str | None:
        board, lines = loaded.hw.board, loaded.hw.inputs
        if board.driver == "simulated":
            return buses.config_txt(())
        pulses = [output.pin for output in loaded.hw.outputs if output.kind == "pwm"]
        others = [output.pin for output in loaded.hw.outputs if output.kind != "pwm"]
        try:
            return buses.config_txt(board.buses, pulses=pulses, lines=[*others, *(line.pin for line in lines)])
        except ValueError as error:
            for text in str(error).splitlines():
                self._wrong(("board", "buses"), text)
            raise ConfigError(self._problems) from None


def _data(path: Path) -> Mapping[str, Any]:
    """What a configuration says, as far as it can be read."""
    try:
        return decode.load(path).data
    except ConfigError:
        return {}


def _jid(data: Mapping[str, Any]) -> str:
    """The address in a configuration, '' without any: somebody may have spoiled the node's own."""
    xmpp = data.get("xmpp")
    jid = xmpp.get("jid") if isinstance(xmpp, Mapping) else None
    return jid if isinstance(jid, str) else ""


def _bare(jid: str) -> str:
    try:
        return str(compat.jid(jid).bare)
    except ValueError:
        return jid


def _within(zones: Path, zone: str) -> bool:
    return (zones / zone).is_file()
