import json

import pytest
from bs4 import BeautifulSoup
from ipywidgets import Dropdown, SelectionSlider
from matplotlib.figure import Figure

from stlearn_lib.widgets import frame_picker

NAMES = ["1", "0.5 & less", 'the "last"']


def picker(**settings):
    return frame_picker(NAMES, lambda name: Figure(), lambda name: f"frame <{name}>", label="Setting", **settings)


def soup(**settings) -> BeautifulSoup:
    return BeautifulSoup(picker(**settings).to_html(), "html.parser")


@pytest.mark.parametrize(("ordered", "control"), [(False, Dropdown), (True, SelectionSlider)])
def test_with_a_kernel_the_control_is_linked_to_the_frames(ordered, control):
    choice, stack = picker(ordered=ordered).children
    assert type(choice) is control and choice.options == tuple(NAMES) and choice.description == "Setting"
    assert choice.index == stack.selected_index == 0 and len(stack.children) == 3


@pytest.mark.parametrize("ordered", [False, True])
def test_without_a_kernel_the_first_frame_is_shown_and_told(ordered):
    page = soup(ordered=ordered)
    shown = page.find_all("img")
    assert [image["alt"] for image in shown] == [f"frame <{name}>" for name in NAMES]
    assert [image.has_attr("hidden") for image in shown] == [False, True, True]


def test_a_menu_has_its_label_and_all_choices():
    (label,) = soup().find_all("label")
    assert label.find(string=True).strip() == "Setting:"
    assert [option.text for option in label.select("select option")] == NAMES


def test_a_slider_has_its_label_its_range_and_tells_the_choice_by_name():
    page = soup(ordered=True)
    (slider,) = page.select("label > input[type=range]")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "0")
    assert json.loads(slider["data-names"]) == NAMES
    assert slider["aria-valuetext"] == page.output.text == NAMES[0]
    assert page.output.find_parent("label") is None, "else the slider's name would change with its value"


def test_two_widgets_on_a_page_do_not_meet():
    assert not BeautifulSoup(picker().to_html() + picker(ordered=True).to_html(), "html.parser").find_all(id=True)
    assert picker().to_html() == picker().to_html(), "a page that is written again does not change"
