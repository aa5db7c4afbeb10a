"""What a broken download leaves behind is named, with the remedy, before any library reads it."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from currreft_nb import InputError
from currreft_nb.models.files import read_config, source_of, weight_files
from currreft_nb.models.weights import INDEX, check_folder, check_model, check_unquantised, pocket_folder
from tests.helpers.tiny_models import write_tiny

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 7754000000\n"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(pocket_folder("pocket"), tmp_path / "model")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return write_tiny("qwen2_vl", tmp_path_factory.mktemp("tiny") / "model", max_shard_size="100KB")


def keep_bytes(path, count):
    with path.open("r+b") as stream:
        stream.truncate(count)


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "processor_config.json"]
)
def test_a_pointer_of_git_lfs_is_named_with_the_remedy(folder, name):
    (folder / name).write_text(POINTER)
    for check in (check_folder, lambda place: source_of(str(place)), lambda place: check_model("model", place.parent)):
        with pytest.raises(InputError, match=rf"{name} is only a pointer of git-lfs .*7,754,000,000.*git lfs pull"):
            check(folder)


def test_a_pointer_to_a_file_that_no_model_reads_does_not_matter(folder):
    (folder / "figure.png").write_text(POINTER)
    check_folder(folder)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "is cut off after 0 bytes, within its header"),
        (7, "is cut off after 7 bytes, within its header"),
        (1000, "is cut off after 1,000 bytes, within its header"),
        (500_000, r"is cut off: it has 500,000 bytes, by its header 3,1\d\d,\d\d\d"),
        (-1, "is cut off: it has"),
    ],
)
def test_a_weight_file_that_is_cut_off_is_named(folder, count, message):
    path = folder / "model.safetensors"
    keep_bytes(path, count if count >= 0 else path.stat().st_size + count)
    with pytest.raises(InputError, match=rf"model\.safetensors {message}.*download it again"):
        source_of(str(folder))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"<!DOCTYPE html><title>404</title>" + b" " * 2000, "is not a safetensors file"),
        (b"\x02" + bytes(7) + b"{}" + b"more", "is damaged: it has 14 bytes, by its header 10"),
        (b"\x02" + bytes(7) + b"[]", "is not a safetensors file"),
        (b'\x08\0\0\0\0\0\0\0{"a": 1}', "is not a safetensors file"),
    ],
)
def test_a_file_that_holds_something_else_is_named(folder, content, fault):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.safetensors {fault}"):
        check_folder(folder)


def test_a_link_to_nothing_is_named(folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "blobs" / "absent")
    with pytest.raises(InputError, match=r"model\.safetensors is a link to a file that is not here"):
        check_folder(folder)


def test_shards_pass_and_a_missing_one_is_named(shards, tmp_path):
    folder = shutil.copytree(shards, tmp_path / "model")
    files = weight_files(str(folder))
    assert len(files) == 2
    files[1].unlink()
    with pytest.raises(InputError, match=rf"{files[1].name} does not exist \(1 of {len(files)} files that {INDEX}"):
        source_of(str(folder))


@pytest.mark.parametrize(("text", "fault"), [(None, "does not exist, so model-00001"), ("{", "is damaged")])
def test_shards_need_their_index(shards, tmp_path, text, fault):
    folder = shutil.copytree(shards, tmp_path / "model")
    (folder / INDEX).unlink() if text is None else (folder / INDEX).write_text(text)
    with pytest.raises(InputError, match=f"{INDEX} {fault}"):
        check_folder(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model-q4.gguf"])
def test_weights_in_another_format_are_named(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    for check in (lambda: weight_files(str(folder)), lambda: check_model(str(folder), folder)):
        with pytest.raises(InputError, match=rf"has its weights in {name}, which is not read; .*save_pretrained"):
            check()


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, r"in 4 bit \(bitsandbytes\)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}, r"in 8 bit \(bitsandbytes\)"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, r"in 4 bit \(gptq\)"),
        ({"quant_method": "awq", "bits": 4, "version": "gemm"}, r"in 4 bit \(awq\)"),
        ({"quant_method": "awq", "w_bit": 4}, r"in 4 bit \(awq\)"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, r"quantised \(fp8\)"),
        ({"format": "pack-quantized"}, r"quantised \(by an unknown method\)"),
    ],
)
def test_quantised_weights_are_refused_with_what_they_are(folder, config, kind):
    settings = json.loads((folder / "config.json").read_text())
    for changed in (
        settings | {"quantization_config": config},
        settings | {"compression_config": config},
        settings | {"text_config": settings["text_config"] | {"quantization_config": config}},
    ):
        (folder / "config.json").write_text(json.dumps(changed))
        with pytest.raises(InputError, match=rf"is stored {kind} already; give the 16-bit model"):
            check_model("model", folder.parent)
        with pytest.raises(InputError, match=rf"is stored {kind} already"):
            check_unquantised(read_config(str(folder)).to_dict(), "m")


def test_what_is_not_quantised_or_not_here_passes(folder, tmp_path):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"quantization_config": None}))
    for name in ("model", "pocket", "", "Qwen/Qwen2.5-VL-3B-Instruct", str(folder)):
        check_model(name, tmp_path)


def test_only_headers_are_read(tmp_path):
    """A sparse file of 40 GiB is checked at once."""
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(4)}, path)
    size = 10 * 2**30
    header = json.dumps({"a": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    keep_bytes(path, 8 + len(header) + 4 * size)
    check_folder(tmp_path)
