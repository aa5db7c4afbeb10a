"""Variables of the shell that would mislead a run: those of a cluster's launcher, and those that name a proxy.

A job of Kubeflow, SLURM, MPI, torchrun or `accelerate launch` leaves variables in the shell from which Jupyter or
`currreft` is started. Accelerate, transformers and torch read them: a run of one process would wait for others that
nobody starts, compute in another precision, or demand DeepSpeed. A run of several processes starts them itself
(`training.processes.launch`) and sets their variables. SLURM's own variables stay: no library here reads them.
"""

import importlib.util
import ipaddress
import os
import re
import urllib.request
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from currreft_nb import InputError

CLUSTER = re.compile(
    r"(LOCAL_|GROUP_|NODE_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)|TORCHELASTIC_\w+"
    r"|ACCELERATE_(?!LOG_LEVEL|DEBUG_MODE|ENABLE_RICH|DISABLE_RICH)\w+"
    r"|PMI_(RANK|SIZE)|MPI_LOCALN?RANK(ID|S)|(OMPI_COMM_WORLD|MV2_COMM_WORLD)_\w+"
)
PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")

_left: list[str] = []  # what `leave_cluster` has removed in this process


def cluster_variables() -> list[str]:
    """Return the names of a launcher's variables in the environment, and of those removed from it, sorted."""
    return sorted({*_left, *filter(CLUSTER.fullmatch, os.environ)})


def leave_cluster() -> str:
    """Remove the variables of a cluster's launcher from the environment; return a line that says so, "" for none."""
    found = sorted(filter(CLUSTER.fullmatch, os.environ))
    for name in found:
        del os.environ[name]
    _left.extend(found)
    return ignored(found)


def ignored(names: Sequence[str]) -> str:
    """Return a line about ignored variables, "" for none.

    >>> ignored(["RANK"])
    "ignored, as a cluster's launcher left it: RANK; num_processes sets how many processes train"
    """
    it = "it" if len(names) == 1 else "them"
    line = (
        f"ignored, as a cluster's launcher left {it}: {', '.join(names)}; num_processes sets how many processes train"
    )
    return line if names else ""


def proxy_of(url: str) -> tuple[str, str] | None:
    """Return variable and address of the proxy through which the environment wants a URL to be asked; None: directly.

    This machine (localhost, 127.0.0.0/8, ::1) is never asked through a proxy. Raises `InputError` for a proxy that
    cannot be used; no message shows its address, which may hold a password.
    """
    parts, proxies = urlsplit(url), urllib.request.getproxies()
    scheme = next((name for name in (parts.scheme, "all") if proxies.get(name)), None)
    if scheme is None or _is_this_machine(parts.hostname or "") or _is_excepted(parts, proxies.get("no", "")):
        return None
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    variable = next((name for name in names if os.environ.get(name)), "the system's settings")
    address = proxies[scheme] if "://" in proxies[scheme] else f"http://{proxies[scheme]}"
    _check_proxy(variable, address)
    return variable, address


def _is_this_machine(host: str) -> bool:
    if network := _network(host):
        return network.is_loopback or network.network_address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")


def _is_excepted(parts: SplitResult, exceptions: str) -> bool:
    """Return whether NO_PROXY names the host: its name, domain, address or network (10.0.0.0/8), also with a port."""
    host = parts.hostname or ""
    address = _network(host)
    for text in exceptions.lower().replace(",", " ").split():
        network = _network(text)
        if address and network and address.version == network.version and address.subnet_of(network):  # type: ignore[arg-type]
            return True
        name, _, port = text.removeprefix("*").lstrip(".").partition(":")
        if text == "*" or (name and f".{host}".endswith(f".{name}") and port in ("", str(parts.port))):
            return True
    return bool(urllib.request.proxy_bypass(parts.netloc))  # macOS and Windows keep exceptions elsewhere


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network that a text names, an address being one of itself; None for a name."""
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _check_proxy(variable: str, address: str) -> None:
    scheme = address.partition("://")[0].lower()
    if scheme not in PROXY_SCHEMES:
        hint = "socks5://" if scheme.startswith("socks") else "http://"
        raise InputError(f"{variable} begins with {scheme}://, which is no kind of proxy; write {hint}, or unset it")
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise InputError(f"{variable} names a SOCKS proxy, which needs a package: pip install socksio, or unset it")
    try:
        usable = bool(urlsplit(address).hostname) and urlsplit(address).port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(f"{variable} is no address; write it like http://host:3128, or unset it")
