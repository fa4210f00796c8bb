"""The page in a real Chromium: it loads without a complaint, and does under the hand what it says."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.ctc import forced_align
from sewnp.explain import Page, unpack
from sewnp.speech import CTCTokenizer
from sewnp.types import Array


@contextmanager
def opened(browser: Any, page: Page, folder: Path, **context: Any) -> Iterator[Any]:
    """A page in a tab, once it is ready; at the end nothing has been complained about, and nothing asked for."""
    complaints: list[str] = []
    path = folder / "page.html"
    page.save(path)
    session = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
    tab = session.new_page()
    tab.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:", "blob:")) or complaints.append(request.url))
    tab.goto(path.as_uri())
    tab.wait_for_selector("html[data-ready]", state="attached")
    yield tab
    session.close()
    assert complaints == []


@pytest.fixture
def tab(browser: Any, page: Page, tmp_path: Path) -> Iterator[Any]:
    with opened(browser, page, tmp_path) as tab:
        yield tab


def strip(tab: Any, section: str, number: int = 0) -> Any:
    found = tab.locator(f"{section} .strip").nth(number)
    found.scroll_into_view_if_needed()
    return found


def point(tab: Any, target: Any, across: float, down: float = 0.5, *, press: bool = False) -> None:
    box = target.bounding_box()
    left = 64  # the gutter, and 4 px at the right
    at = box["x"] + left + across * (box["width"] - left - 4), box["y"] + down * box["height"]
    (tab.mouse.click if press else tab.mouse.move)(*at)


def said(tab: Any, section: str, number: int = 0) -> str:
    text: str = tab.locator(f"{section} .readout").nth(number).inner_text()
    return text


def now(tab: Any) -> float:
    return float(tab.locator("#now").inner_text().split(" ")[0])


def until(tab: Any, reached: Callable[[], bool]) -> None:
    """Wait for at most ten seconds.  (playwright's own way evaluates a string, which the page's policy forbids.)"""
    for _ in range(500):
        if reached():
            return
        tab.wait_for_timeout(20)
    raise AssertionError("not within ten seconds")


def is_paused(tab: Any) -> bool:
    paused: bool = tab.locator("#audio").evaluate("audio => audio.paused")
    return paused


def colours(target: Any) -> int:
    """How many different colours a canvas shows: more than a few, if anything is drawn on it."""
    script = """canvas => { const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set(); for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i+1] << 8 | data[i+2]); return seen.size; }"""
    count: int = target.evaluate(script)
    return count


def test_every_panel_is_drawn(tab: Any, page_d: Page, browser: Any, tmp_path: Path) -> None:
    assert tab.locator("h1").inner_text() == "How digits hears audio"
    assert tab.locator("#text").inner_text() == "THREE ONE FOUR"
    for section in ("overview", "sound", "funnel", "squeeze", "attention", "letters", "lattice", "gradients"):
        for number in range(tab.locator(f"#{section} .strip").count()):
            drawn = strip(tab, f"#{section}", number).locator("canvas")
            tab.wait_for_timeout(60)
            assert colours(drawn) > 3, (section, number)
            assert len(drawn.get_attribute("aria-label")) > 10
    assert tab.locator("#funnel .strip").count() == 14
    assert tab.locator("#attention figure").count() == 4
    assert tab.locator("#words tbody tr").count() == 3


def test_a_press_moves_one_cursor_everywhere(tab: Any) -> None:
    point(tab, strip(tab, "#letters"), 0.5, press=True)
    assert now(tab) == pytest.approx(0.6, abs=0.01)
    assert tab.locator("#audio").evaluate("audio => audio.currentTime") == pytest.approx(0.6, abs=0.01)
    shifts = tab.eval_on_selector_all(".cursor", "all => all.map(each => each.style.transform)")
    assert len(shifts) > 20
    assert len(set(shifts)) == 1
    assert "0.60 s" in tab.locator("#status").inner_text()
    tab.keyboard.press("ArrowRight")
    assert now(tab) == pytest.approx(0.62, abs=0.01)
    tab.locator("#seek").fill("0.42")
    assert now(tab) == 0.42
    assert "in THREE" in tab.locator("#seek").get_attribute("aria-valuetext")


def test_the_sound_plays_and_takes_the_cursor_along(tab: Any) -> None:
    assert tab.evaluate("document.getElementById('audio').duration") == pytest.approx(1.2)
    tab.locator("#play").click()
    until(tab, lambda: now(tab) > 0.1)
    until(tab, lambda: is_paused(tab))
    assert now(tab) > 1


def test_zoom_goes_down_to_samples_and_back(tab: Any) -> None:
    tab.locator("#seek").fill("0.6")
    for _ in range(9):
        tab.keyboard.press("+")
    assert "0.00 s shown" in said(tab, "#sound")
    target = strip(tab, "#sound")
    point(tab, target, 0.25)
    first = said(tab, "#sound")
    point(tab, target, 0.75)
    assert first.startswith("sample 95")  # around 0.6 s
    assert first != said(tab, "#sound")
    tab.keyboard.press("0")
    point(tab, target, 0.0)
    assert said(tab, "#sound").startswith("sample 0 of 19200")


def test_pointing_at_a_channel_shows_its_filter(tab: Any, page: Page) -> None:
    point(tab, strip(tab, "#funnel"), 0.5, 20.5 / 32)
    assert "channel 20: " in said(tab, "#funnel")
    captions = tab.locator("#funnel figcaption")
    assert captions.nth(0).inner_text() == "Channel 20: its 10 taps, over 0.63 ms"
    first = tab.locator("#funnel figure canvas").nth(1).evaluate("canvas => canvas.toDataURL()")
    tab.locator("#funnel input").fill("3")
    assert tab.locator("#funnel figure canvas").nth(1).evaluate("canvas => canvas.toDataURL()") != first
    tab.locator("#funnel select").select_option(label="convolution 9, activated")
    assert "96 channels of convolution 8 across, 2 taps down" in captions.nth(0).inner_text()
    assert not captions.nth(1).is_visible()
    tab.locator("#funnel select").select_option(label="convolution 0, before its norm")
    assert "conv, convolution 0" in said(tab, "#funnel")


def test_attention_is_told_as_the_document_has_it(browser: Any, page_d: Page, tmp_path: Path) -> None:
    with opened(browser, page_d, tmp_path) as tab:
        tab.locator("#attention select").nth(0).select_option("1")
        shares = unpack(page_d.document["attention"]["layers"][1]["probabilities"])
        point(tab, strip(tab, "#attention"), 12.5 / 30)  # 30 squeezed frames would make 1.2 s
        best = int(shares[0, 12].argmax())
        assert f"From 0.50 s: head 0 looks most at {(best + 0.5) * 0.04:.2f} s" in said(tab, "#attention")
        assert "encoder.encoder.layer.5.attention" in tab.locator("#attention-stage").inner_text()
        point(tab, strip(tab, "#attention", 2), 20.5 / 30)
        assert "content " in said(tab, "#attention")
        assert "; distance " in said(tab, "#attention")
        tab.locator("#attention select").nth(2).select_option("c2p")
        canvas = tab.locator("#attention figure canvas").nth(2)
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        tab.mouse.move(box["x"] + 10.5 / 29 * box["width"], box["y"] + 4.5 / 29 * box["height"])
        term = unpack(page_d.document["attention"]["layers"][1]["terms"]["c2p"])[2, 4, 10]
        assert float(said(tab, "#attention").rpartition(": ")[2].replace("−", "-")) == pytest.approx(term, rel=0.01)


def test_the_squeeze_tells_what_merges_and_what_is_dropped(tab: Any) -> None:
    point(tab, strip(tab, "#squeeze"), 0.31 / 1.2)
    assert said(tab, "#squeeze").startswith("frames 14 to 15 make squeezed frame 7")
    point(tab, strip(tab, "#squeeze"), 1.17 / 1.2)
    assert said(tab, "#squeeze") == "frame 58 fills no group of 2: it is dropped, and zeros come back"


def verdict(tab: Any) -> float:
    return float(said(tab, "#lattice", 1).partition("log-probability ")[2].partition(",")[0].replace("−", "-"))


def test_a_path_can_be_dragged_and_its_probability_is_right(tab: Any, page: Page) -> None:
    lattice, letters = page.document["lattice"], page.document["letters"]
    assert verdict(tab) == pytest.approx(lattice["path_log_probability"], abs=0.006)
    states, frame = len(lattice["states"]), 16
    assert "paths stand here" in said(tab, "#lattice")
    target = strip(tab, "#lattice")
    state = lattice["path"][frame]
    point(tab, target, (frame + 0.5) * 0.02 / 1.2, (state + 0.5) / states)
    tab.mouse.down()
    point(tab, target, (frame + 0.5) * 0.02 / 1.2, (state + 2.5) / states)
    tab.mouse.up()
    # the likeliest path with that state at that frame, by our own alignment: elsewhere at that frame nothing is possible
    log_probs = unpack(letters["log_probs"])
    expanded = log_probs[:, lattice["states"]]
    best = constrained(expanded, lattice["states"], {frame: state + 2})
    assert verdict(tab) == pytest.approx(best, abs=0.006)
    assert best < lattice["path_log_probability"] - 0.1
    tab.locator("#lattice button", has_text="Let go").click()
    assert verdict(tab) == pytest.approx(lattice["path_log_probability"], abs=0.006)
    tab.locator("#seek").fill("0.32")  # the same without a pointer
    tab.locator("#lattice button", has_text="later").click()
    tab.locator("#lattice button", has_text="later").click()
    assert verdict(tab) == pytest.approx(best, abs=0.006)


def constrained(emissions: Array, states: list[int], held: dict[int, int]) -> float:
    """The likeliest path through held states: each state a token of its own, forced onto a text without repeats."""
    frames, count = emissions.shape
    allowed = np.full((frames, count), -np.inf)
    allowed[:] = emissions
    for frame, state in held.items():
        allowed[frame, np.arange(count) != state] = -np.inf
    best = np.full(count, -np.inf)
    best[:2] = allowed[0, :2]
    for t in range(1, frames):
        leap = np.array([s >= 3 and s % 2 == 1 and states[s] != states[s - 2] for s in range(count)])
        before = np.stack([best, np.r_[-np.inf, best[:-1]], np.where(leap, np.r_[[-np.inf] * 2, best[:-2]], -np.inf)])
        best = allowed[t] + before.max(axis=0)
    return float(best[-2:].max())


def test_the_judge_of_paths_agrees_with_forced_alignment(page: Page) -> None:
    lattice = page.document["lattice"]
    log_probs = unpack(page.document["letters"]["log_probs"])
    expected = forced_align(log_probs, lattice["states"][1::2], blank=0).log_probability
    assert constrained(log_probs[:, lattice["states"]], lattice["states"], {}) == pytest.approx(expected)


def test_a_word_plays_alone(tab: Any) -> None:
    tab.get_by_role("button", name="Play ONE").click()
    until(tab, lambda: now(tab) > 0.6)
    until(tab, lambda: is_paused(tab))
    assert now(tab) < 1.1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_it_fits_every_width_in_both_schemes(browser: Any, page_d: Page, tmp_path: Path, width: int, scheme: str) -> None:
    with opened(browser, page_d, tmp_path, viewport={"width": width, "height": 800}, color_scheme=scheme) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
        assert dark == (scheme == "dark")
        assert colours(tab.locator("#overview canvas")) > 3


def test_the_scheme_may_change_while_it_is_open(browser: Any, page: Page, tmp_path: Path) -> None:
    with opened(browser, page, tmp_path, color_scheme="light") as tab:
        letters = strip(tab, "#letters").locator("canvas")
        tab.wait_for_timeout(100)
        light = letters.evaluate("canvas => canvas.toDataURL()")
        tab.emulate_media(color_scheme="dark")
        until(tab, lambda: letters.evaluate("canvas => canvas.toDataURL()") != light)


def test_a_touch_seeks_and_every_control_has_a_name(browser: Any, page: Page, tmp_path: Path) -> None:
    with opened(browser, page, tmp_path, viewport={"width": 390, "height": 800}, has_touch=True) as tab:
        box = strip(tab, "#sound").bounding_box()
        tab.touchscreen.tap(box["x"] + 44 + (box["width"] - 48) / 2, box["y"] + 60)
        assert now(tab) == pytest.approx(0.6, abs=0.02)
        unnamed = """all => all.filter(each => !each.ariaLabel && !each.labels?.length
            && !(each.tagName == "BUTTON" && each.textContent.trim())).length"""
        assert tab.eval_on_selector_all("button, input, select, meter", unnamed) == 0


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>document.title='bad'</script>",
    "\u202eRTL\u2028",
    "{{data}}",
    "]]>",
    "<!--",
]


def test_a_hostile_vocabulary_is_only_text(browser: Any, digits: sewnp.Model, second: Array, tmp_path: Path) -> None:
    assert digits.tokenizer is not None
    letters = dict(digits.tokenizer.vocab)
    renamed = dict(zip("THREON", HOSTILE, strict=True))
    vocabulary = {renamed.get(token, token): index for token, index in letters.items()}
    model = replace(digits, tokenizer=CTCTokenizer.from_files(vocabulary), name="<b>digits</b>")
    page = model.explain(second, layers=[0])
    assert HOSTILE[0] in page.document["letters"]["tokens"]
    with opened(browser, page, tmp_path) as tab:
        dialogs: list[Any] = []
        tab.on("dialog", lambda dialog: dialogs.append(dialog))
        assert tab.locator("h1").inner_text() == "How <b>digits</b> hears audio"
        point(tab, strip(tab, "#letters"), 0.3)
        point(tab, strip(tab, "#lattice"), 0.3)
        assert tab.locator("img, b, section script").count() == 0
        assert tab.title() == "audio, as <b>digits</b> hears it"
        assert dialogs == []


def test_half_a_minute_is_there_in_two_seconds_and_usable(browser: Any, long_page: Page, tmp_path: Path) -> None:
    with opened(browser, long_page, tmp_path) as tab:
        assert "each 3 of them are shown as one" in tab.locator("#attention").inner_text()
        assert "Of 6 layers these are kept: 0, 3, 5." in tab.locator("#attention").inner_text()
        assert "the least sure ones" in tab.locator("#gradients").inner_text()
        point(tab, strip(tab, "#attention", 2), 0.5)
        assert "which " in said(tab, "#attention")  # far distances share a bucket
        point(tab, strip(tab, "#lattice"), 0.5, press=True)
        assert now(tab) == pytest.approx(14.9, abs=0.2)
        measured = tab.context.new_cdp_session(tab)
        measured.send("Performance.enable", {"timeDomain": "threadTicks"})  # a processor's time: other tests run beside this one
        tab.reload()
        tab.wait_for_selector("html[data-ready]", state="attached")
        metrics = {each["name"]: each["value"] for each in measured.send("Performance.getMetrics")["metrics"]}
        assert 0.05 < metrics["TaskDuration"] < 2


def test_silence_says_that_there_is_nothing(browser: Any, digits: sewnp.Model, tmp_path: Path) -> None:
    with opened(browser, digits.explain(np.zeros(16000, np.float32), layers=[]), tmp_path) as tab:
        assert tab.locator("#text").inner_text() == "(no words heard)"
        assert "No text was heard" in tab.locator("#lattice").inner_text()
        assert "No layer was asked for" in tab.locator("#attention").inner_text()


def test_it_works_in_the_frame_of_a_notebook(browser: Any, page: Page) -> None:
    tab = browser.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.set_content(f"<body>{page._repr_html_()}</body>")
    frame = tab.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(state="attached")
    assert frame.locator("#text").inner_text() == "THREE ONE FOUR"
    assert complaints == []
    tab.close()
