"""Variables that a shell brings along: a launcher's are ignored and named, and a proxy is used as curl would."""

import os

import pytest

from currreft_nb import InputError
from currreft_nb.core import environment
from currreft_nb.core.environment import cluster_variables, leave_cluster, proxy_of

FAR, NEAR = "https://api.example.com/v1", "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    monkeypatch.setattr(environment, "_left", [])
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name in cluster_variables()]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "left", "why"),
    [
        ("RANK", True, "torchrun"),
        ("WORLD_SIZE", True, "a Kubeflow job"),
        ("LOCAL_RANK", True, "Accelerate would ask for MASTER_ADDR"),
        ("LOCAL_WORLD_SIZE", True, "torchrun"),
        ("NODE_RANK", True, "Lightning and older launchers"),
        ("GROUP_RANK", True, "torchrun"),
        ("ROLE_WORLD_SIZE", True, "torchrun"),
        ("MASTER_ADDR", True, "where others would wait"),
        ("MASTER_PORT", True, "where others would wait"),
        ("TORCHELASTIC_USE_AGENT_STORE", True, "a store that nobody keeps"),
        ("ACCELERATE_USE_DEEPSPEED", True, "a package that is not needed"),
        ("ACCELERATE_MIXED_PRECISION", True, "it would change the numbers"),
        ("PMI_SIZE", True, "Accelerate reads it on the CPU"),
        ("OMPI_COMM_WORLD_SIZE", True, "mpirun"),
        ("OMPI_COMM_WORLD_LOCAL_RANK", True, "mpirun"),
        ("MV2_COMM_WORLD_RANK", True, "MVAPICH"),
        ("MPI_LOCALRANKID", True, "Intel's MPI"),
        ("MPI_LOCALNRANKS", True, "Intel's MPI"),
        ("ACCELERATE_LOG_LEVEL", False, "it changes no run"),
        ("SLURM_PROCID", False, "no library here reads it"),
        ("CUDA_VISIBLE_DEVICES", False, "the user's choice of GPUs"),
        ("OMP_NUM_THREADS", False, "the user's choice of threads"),
        ("MY_RANK", False, "somebody else's"),
    ],
)
def test_variables_of_a_launcher_are_removed_and_named(monkeypatch, name, left, why):
    monkeypatch.setenv(name, "1")
    said = leave_cluster()
    assert (name not in os.environ) == (f": {name};" in said) == left, why
    assert cluster_variables() == ([name] if left else []), "what was removed is still known"
    assert leave_cluster() == "", "it is said once"


@pytest.mark.parametrize(
    ("url", "variables", "expected", "why"),
    [
        (FAR, {"https_proxy": "http://p:3128"}, ("https_proxy", "http://p:3128"), "lower case"),
        (FAR, {"HTTPS_PROXY": "http://p:3128"}, ("HTTPS_PROXY", "http://p:3128"), "upper case"),
        (FAR, {"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, ("https_proxy", "http://a:1"), "both"),
        (FAR, {"https_proxy": "", "HTTPS_PROXY": "http://b:1"}, None, "an empty one in lower case switches it off"),
        (FAR, {"http_proxy": "http://p:3128"}, None, "of the other scheme"),
        (FAR, {"ALL_PROXY": "p:3128"}, ("ALL_PROXY", "http://p:3128"), "of all schemes, without its own scheme"),
        (FAR, {"all_proxy": "http://a:1", "https_proxy": "http://b:1"}, ("https_proxy", "http://b:1"), "nearer"),
        (FAR, {"https_proxy": "http://p:1", "NO_PROXY": "x, api.example.com"}, None, "an exception"),
        (FAR, {"https_proxy": "http://p:1", "no_proxy": ".example.com"}, None, "a domain"),
        (FAR, {"https_proxy": "http://p:1", "no_proxy": "*.example.com"}, None, "a domain with an asterisk"),
        (FAR, {"https_proxy": "http://p:1", "no_proxy": "*"}, None, "no proxy at all"),
        (FAR, {"https_proxy": "http://p:1", "no_proxy": "ample.com"}, ("https_proxy", "http://p:1"), "part of a word"),
        ("http://gpu7:8000/v1", {"http_proxy": "http://p:1", "no_proxy": "gpu7:8000"}, None, "with its port"),
        ("http://gpu7:8000/v1", {"http_proxy": "p:1", "no_proxy": "gpu7:9"}, ("http_proxy", "http://p:1"), "another"),
        ("http://10.1.2.3:8000/v1", {"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, None, "a network"),
        ("http://10.1.2.3/v1", {"http_proxy": "p:1", "no_proxy": "11.0.0.0/8"}, ("http_proxy", "http://p:1"), "other"),
        ("http://[fd00::7]:8000/v1", {"http_proxy": "http://p:1", "no_proxy": "fd00::/8"}, None, "a network of IPv6"),
    ],
)  # fmt: skip
def test_the_proxy_is_the_one_that_the_environment_names(monkeypatch, url, variables, expected, why):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == expected, why


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.1.1", "localhost", "LOCALHOST", "my.localhost", "[::1]", "0.0.0.0"]
)
@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("value", ["http://p:3128", "socks5://p:1", "socks://p:1", "nonsense://"])
def test_this_machine_is_never_asked_through_a_proxy(monkeypatch, host, variable, value):
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("NO_PROXY", "elsewhere")
    assert proxy_of(f"http://{host}:8000/v1") is None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ALL_PROXY", "socks://me:s3cr3t@p:1080", r"ALL_PROXY begins with socks://.*; write socks5://, or unset it"),
        ("all_proxy", "socks4://p:1080", r"all_proxy begins with socks4://.*; write socks5://"),
        ("https_proxy", "htp://p:1080", r"https_proxy begins with htp://.*; write http://"),
        ("HTTPS_PROXY", "socks5://me:s3cr3t@p:1080", r"HTTPS_PROXY names a SOCKS proxy.*pip install socksio, or unset"),
        ("https_proxy", "socks5h://p:1080", r"https_proxy names a SOCKS proxy.*pip install socksio"),
        ("https_proxy", "http://me:s3cr3t@:3128", r"https_proxy is no address; write it like http://host:3128"),
        ("https_proxy", "http://p:port", r"https_proxy is no address"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_sentence_without_its_address(monkeypatch, variable, value, message):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=message) as caught:
        proxy_of(FAR)
    assert "s3cr3t" not in str(caught.value)


def test_a_socks_proxy_is_used_where_its_package_is_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setenv("ALL_PROXY", "socks5://p:1080")
    assert proxy_of(FAR) == ("ALL_PROXY", "socks5://p:1080") and proxy_of(NEAR) is None
