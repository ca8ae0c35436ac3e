"""Tables in a terminal and in a file: captions as wide as the place, names that do not widen a table."""

import io

import pytest

from securitynet_hub.core.printing import PlainConsole
from securitynet_hub.core.tables import Name, plain_table

CAPTION = (
    "seven words of a caption that is wider than the table below it, and than one line of eighty columns."
)
LONG = "module/f734a20563ba/a-name-of-an-experiment-that-is-much-longer-than-a-table-can-bear"


def shown(*, terminal, width=80, name="short"):
    table = plain_table("A title that is longer than the table", caption=CAPTION)
    table.add_column("model")
    table.add_column("figure", no_wrap=True)
    table.add_row(Name(name), "0.5")
    file = io.StringIO()
    PlainConsole(file=file, width=width, force_terminal=terminal, color_system=None).print(table)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [50, 80, 200])
def test_title_and_caption_take_the_whole_width(width):
    lines = shown(terminal=False, width=width)
    assert lines[0] == "A title that is longer than the table"
    caption = lines[4:]
    assert " ".join(line.strip() for line in caption) == CAPTION
    assert max(map(len, caption)) <= width
    assert len(caption) == {50: 3, 80: 2, 200: 1}[width]


def test_a_long_name_is_cut_in_its_middle_in_a_terminal_alone():
    narrow, file = shown(terminal=True, name=LONG), shown(terminal=False, name=LONG, width=120)
    assert [line.split()[0] for line in narrow[3:5]] == ["module/f734a20563ba/", "a-name-of-an-…ble-can-bear"]
    assert max(map(len, narrow)) <= 80
    assert LONG.split("/")[-1] in "\n".join(file)
    wide = shown(terminal=True, name=LONG, width=120)
    assert any(LONG.split("/")[-1][:25] in line and "…" in line for line in wide)
