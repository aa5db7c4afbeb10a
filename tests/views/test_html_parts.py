"""The pieces of a gallery: text that is shown and not run, tables, and pictures with boxes."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from currreft_nb.views.html_parts import (
    GOLD,
    PREDICTED,
    data_address,
    draw_marks,
    escaped,
    image_tag,
    pairs_table,
    table,
)
from tests.helpers.jupyterlab_sanitiser import colour_at, draw_scene, pixels, read


@pytest.fixture
def scene(tmp_path):
    return draw_scene(tmp_path)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_is_shown_and_not_run(text):
    shown, _ = read(pairs_table([("gold", text)]))
    harmless = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text)
    assert shown == "gold" + harmless


def test_clean_escapes_quotes_for_attributes():
    assert escaped("\"'<&>") == "&quot;&#x27;&lt;&amp;&gt;"


def test_tables_show_numbers_gaps_and_no_index():
    frame = pd.DataFrame(
        {"arm": ["base", None], "n": [100, 80], "mean": [0.61819, float("nan")], "fine": [True, False]}
    )
    text, _ = read(table(frame))
    assert text == "armnmeanfinebase1000.618True–80–False"
    assert "0.62" in table(frame, digits=2)
    counts = pd.DataFrame({"tokens": [364.0, None], "share": [1.0, 0.0]})  # a gap made floats of counts
    assert read(table(counts, digits=2))[0] == "tokensshare3641.00–0.00"
    assert read(table(frame.head(0)))[0] == "armnmeanfine"


def test_small_scenes_grow_by_a_whole_factor_without_blur(scene):
    image = draw_marks(Image.open(scene))
    assert image.size == (256, 256)
    assert set(image.getcolors()) == {(256 * 256 - 80 * 80, (32, 48, 64)), (80 * 80, (255, 255, 0))}
    assert np.array_equal(np.asarray(pixels(data_address(image))), np.asarray(image)), "flat drawings are kept exactly"


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((640, 480), (256, 192)),
        ((256, 10), (256, 10)),
        ((100, 128), (200, 256)),
        ((3000, 2), (256, 1)),
        ((1, 1), (256, 256)),
    ],
)
def test_pictures_fit_and_keep_their_shape(size, shown):
    assert draw_marks(Image.new("RGB", size)).size == shown


def test_photographs_are_stored_as_small_jpegs():
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    address = data_address(draw_marks(Image.fromarray(noise)))
    assert address.startswith("data:image/jpeg") and len(address) < 60_000


def test_a_prediction_on_the_gold_leaves_both_to_be_seen(scene):
    box = (10, 10, 30, 30)
    image = draw_marks(Image.open(scene), [(box, GOLD, ""), (box, PREDICTED, "")])
    assert colour_at(image, 80, 40) == PREDICTED and colour_at(image, 80, 43) == GOLD


@pytest.mark.parametrize("box", [(-50, -50, 1000, 1000), (63.9, 63.9, 64, 64), (0, 0, 0.1, 0.1), (30, 30, 5, 5)])
def test_odd_boxes_can_be_drawn(scene, box):
    assert draw_marks(Image.open(scene), [(box, PREDICTED, "A")]).size == (256, 256)


def test_a_picture_that_cannot_be_read_says_so(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for name in ("bad.png", "gone.png"):
        text, pictures = read(image_tag(str(tmp_path / name)))
        assert text.startswith("the image cannot be shown") and not pictures
