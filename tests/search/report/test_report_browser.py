"""The report in a real browser: what is to be seen, that it needs no network, and that everybody can use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from search.models.probe_curve import Line, ProbeCurves, write_curves
from search.report.facts import gather
from search.report.page import write_report
from search.verdict.probe_policy import ProbedRole
from tests.search.report.test_report import EVIL, answers, confirm, run_in
from tests.support.browsers import Watched, chromium, watched
from tests.support.tells import tells


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search with a verdict, classes, and names that are markup."""
    run = run_in(
        tmp_path_factory.mktemp("runs") / "simulated", f"space.fusion={json.dumps(['sum', 'film', 'mine:' + EVIL])}"
    )
    facts = gather(run.path)
    for arm in ("modulated", "baseline"):
        answers(facts, arm, [True, arm == "modulated", False, False, True], [EVIL, "var(--ink)"])
    confirm(run, 0.1)
    roles: list[ProbedRole] = ["modulated", "baseline", "alone"]
    lines = [
        Line(role, name, (2, 4), (7, 8), ((0.5, 0.6), (0.55, 0.7)))
        for name in (EVIL, "visual", None)
        for role in roles[: 3 if name else 2]
    ]
    run.probe_curve.path.mkdir()
    write_curves(run, ProbeCurves("simulated", 2, True, (7, 8), (0, 2), {}, tuple(lines)))
    return write_report(run.path)


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def seen(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Watched]:
    found = watched(browser, file.as_uri(), viewport={"width": 1280, "height": 900}, color_scheme=request.param)
    found.page.goto(file.as_uri())
    yield found
    assert found.troubles == []
    assert found.outside == []
    found.page.close()


def drawn(page: Page, name: str) -> None:
    """Waits until a plot is there."""
    page.locator(f"#{name}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#{name} .main-svg")


def test_the_verdict_is_what_one_sees_first(seen):
    page = seen.page
    tells(page.inner_text("h1"), "helps")
    box = page.locator("h1").bounding_box()
    assert box["y"] < 200
    tells(page.inner_text("main section:first-of-type"), "10.2 points")
    assert page.title() == f"simulated: {page.inner_text('h1')}"


def test_every_plot_is_drawn_once_it_comes_into_view(seen):
    page = seen.page
    names = page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.id)")
    assert {"pair", "parallel"} <= set(names)
    assert {"curves", "seeds", "alpha", "window", "accuracy", "ratio", "coefficient", "classes", "slice0"} <= set(names)
    assert {"probe0", "probe1", "probe2"} <= set(names)
    for name in names:
        drawn(page, name)
        size = page.locator(f"#{name} .main-svg").first.bounding_box()
        assert size["width"] > 200
        assert size["height"] > 100
    assert page.locator("#curves .scatterlayer .trace").count() >= 4
    assert page.title() == f"simulated: {page.inner_text('h1')}"  # nothing of the users' was run


def test_axes_have_lines_and_a_grid_in_the_pages_own_colours(seen):
    page = seen.page
    drawn(page, "curves")
    drawn(page, "classes")
    of_axis = "axis => [axis.showline, axis.showgrid, axis.linecolor, axis.gridcolor]"
    axes = f"plots => plots.flatMap(({{_fullLayout: all}}) => [all.xaxis, all.yaxis].map({of_axis}))"
    line, grid = (
        page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--{name}')") for name in ("line", "grid")
    )
    found = page.eval_on_selector_all("#curves, #classes", axes)
    assert found == [[True, True, line.strip(), grid.strip()]] * 4


def test_what_the_user_wrote_is_seen_as_it_was_written(seen):
    page = seen.page
    drawn(page, "classes")
    labels = page.locator("#classes .ytick text").all_text_contents()
    assert labels == ["var(--ink)", EVIL]
    assert page.locator("main img").count() == 0


def test_the_table_sorts_and_filters_by_mouse_and_keyboard(seen):
    page = seen.page
    column = page.locator("#table thead th", has_text="val/accuracy").first
    place = page.locator("#table thead th").all_inner_texts().index(column.inner_text())

    def values() -> list[float]:
        cells = page.locator(f"#table tbody tr:visible td:nth-child({place + 1})").all_inner_texts()
        return [float(text.removesuffix(" %")) for text in cells if text != "-"]

    before = values()
    column.locator("button").click()
    assert values() == sorted(before)
    column.locator("button").focus()
    page.keyboard.press("Enter")
    assert values() == sorted(before, reverse=True)
    assert column.get_attribute("aria-sort") == "descending"
    form = page.get_by_role("search", name="Trials, in the table")
    form.get_by_label("Find").fill("film")
    shown = page.locator("#table tbody tr:visible").all_inner_texts()
    assert shown
    assert all("film" in text for text in shown)
    tells(form.locator("output").inner_text(), len(shown))
    form.get_by_label("Find").fill("")
    form.get_by_label("Arm").select_option("baseline")
    form.get_by_label("State").select_option("stopped")
    rows = page.locator("#table tbody tr:visible").all()
    assert {(row.get_attribute("data-arm"), row.get_attribute("data-status")) for row in rows} == {
        ("baseline", "stopped")
    }


def drawn_trials(page: Page, name: str) -> set[int]:
    """Numbers of the trials that a plot shows."""
    numbers = "plot => plot._fullData.filter(trace => trace.meta === 'trials').flatMap(trace => trace.customdata)"
    return set(page.eval_on_selector(f"#{name}", numbers)) - {None}


def wait_for_trials(page: Page, name: str, expected: set[int]) -> None:
    """Waits until a plot shows these trials: it is drawn again a moment after a filter changes."""
    for _ in range(50):
        if drawn_trials(page, name) == expected:
            return
        page.wait_for_timeout(100)
    assert drawn_trials(page, name) == expected


def test_filters_apply_to_the_plots_and_to_the_table_and_say_the_same_in_both_places(seen):
    page = seen.page
    names = ["curves", "alpha", "pair", "parallel", "slice0"]
    for name in names:
        drawn(page, name)
    everywhere = {name: drawn_trials(page, name) for name in names}
    page.get_by_role("search", name="Trials, in the plots").get_by_label("Find").fill("film")
    kept = {int(text) for text in page.locator("#table tbody tr:visible .trial").all_inner_texts()}
    for name in names:
        assert everywhere[name] - kept
        wait_for_trials(page, name, everywhere[name] & kept)
    means = """plot => plot._fullData.filter(t => t.type === 'heatmap')
        .flatMap(t => t.x.filter((_, i) => t.z.some(row => row[i] !== null)))"""
    assert {*page.eval_on_selector("#pair", means)} == {"film"}
    other = page.get_by_role("search", name="Trials, in the table")
    assert other.get_by_label("Find").input_value() == "film"
    other.get_by_label("Find").fill("")
    for name in names:
        wait_for_trials(page, name, everywhere[name])


def test_a_box_over_a_parallel_axis_keeps_the_trials_that_pass_through_it(seen):
    page = seen.page
    for name in ("parallel", "alpha"):
        drawn(page, name)
    page.locator("#parallel").scroll_into_view_if_needed()
    points = """plot => {
        const {xaxis, yaxis} = plot._fullLayout;
        const all = plot._fullData.flatMap(t => t.x.map((x, i) => [x, t.y[i], t.customdata[i]]));
        return all.filter(([x]) => x === 0).map(([x, y, number]) => [xaxis.c2p(x), yaxis.c2p(y), number]);
    }"""
    found = page.eval_on_selector("#parallel", points)
    top = min(y for _, y, _ in found)
    through = {number for _, y, number in found if y == top}
    assert len(through) < len(found)
    box = page.locator("#parallel .nsewdrag").first.bounding_box()
    x, y = box["x"] + found[0][0], box["y"] + top
    page.mouse.move(x - 12, y - 12)
    page.mouse.down()
    page.mouse.move(x + 12, y + 12, steps=4)
    page.mouse.up()
    wait_for_trials(page, "parallel", through)
    rows = page.locator("#table tbody tr:visible .trial").all_inner_texts()
    assert {*map(int, rows)} == through
    assert drawn_trials(page, "alpha") <= through
    page.get_by_role("button", name="remove the box").first.click()
    wait_for_trials(page, "parallel", {number for _, _, number in found})


def test_a_plot_opens_with_the_better_half_and_shows_all_at_a_click(seen):
    page = seen.page
    button = page.locator("button.all").first
    name = button.get_attribute("data-plot")
    drawn(page, name)
    ranges = "plot => plot._fullLayout.yaxis.range"
    before = page.eval_on_selector(f"#{name}", ranges)
    button.focus()
    page.keyboard.press("Enter")
    after = page.eval_on_selector(f"#{name}", ranges)
    assert after[0] < before[0]
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert page.eval_on_selector(f"#{name}", ranges) == before


def test_the_tool_bar_covers_neither_legend_nor_points(seen):
    page = seen.page
    for name in ("curves", "alpha", "seeds", "slice0"):
        drawn(page, name)
        page.locator(f"#{name}").hover()
        bar = page.locator(f"#{name} .modebar").bounding_box()
        for other in (".legend", ".nsewdrag"):
            for place in page.locator(f"#{name} {other}").all():
                inside = place.bounding_box()
                assert inside["x"] + inside["width"] <= bar["x"] + 1


def test_a_trial_that_is_chosen_in_the_table_is_shown_in_the_curves_with_its_window(seen):
    page = seen.page
    drawn(page, "curves")
    before = page.locator("#curves .scatterlayer .trace").count()
    button = page.locator("#table .trial").nth(2)
    button.focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"document.querySelectorAll('#curves .scatterlayer .trace').length === {before + 1}")
    assert button.get_attribute("aria-pressed") == "true"
    tells(page.text_content("#curves .legend"), f"trial {button.inner_text()}")
    button.click()
    page.wait_for_function(f"document.querySelectorAll('#curves .scatterlayer .trace').length === {before}")


def test_nothing_stands_in_the_way_of_whoever_cannot_see_or_use_a_mouse(seen):
    page = seen.page
    for name in page.eval_on_selector_all(".plot", "plots => plots.map(plot => plot.id)"):
        drawn(page, name)
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert seen.audit() == []
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("nav a[href='#trials']").focus()
    page.keyboard.press("Enter")
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.textContent"))
    assert reached[:3] == ["find", "arm", "status"]
    assert "trial" in reached[4]  # by the region that scrolls to the first column's head


def test_a_phone_scrolls_in_one_direction_only(browser, file):
    seen = watched(browser, file.as_uri(), viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    seen.page.goto(file.as_uri())
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")  # all plots
    seen.page.wait_for_timeout(500)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.page.locator("h1").bounding_box()["width"] <= 390
    seen.page.close()


def test_a_narrow_screen_shows_the_difference_below_the_arms_and_breaks_commands_between_words(browser, file):
    seen = watched(browser, file.as_uri(), viewport={"width": 360, "height": 844})
    seen.page.goto(file.as_uri())
    boxes = "cells => cells.map(cell => cell.getBoundingClientRect()).map(({left, right, top}) => [left, right, top])"
    differences = seen.page.eval_on_selector_all(".verdict tbody td:last-child:not(:empty)", boxes)
    baselines = seen.page.eval_on_selector_all(
        ".verdict tbody tr:has(td:last-child:not(:empty)) td:nth-child(3)", boxes
    )
    assert differences
    for (left, right, top), (*_, above) in zip(differences, baselines, strict=True):
        assert 0 <= left < right <= 360
        assert top > above
    width = "[...document.querySelectorAll('.verdict')].every(table => table.scrollWidth <= table.clientWidth)"
    assert seen.page.evaluate(width)
    heights = "words => words.filter(word => word.textContent.length < 20).map(word => word.offsetHeight)"
    words = seen.page.eval_on_selector_all("pre .word, .commands .word", heights)
    assert len(words) > 10
    assert max(words) < 30
    command = seen.page.inner_text("pre.step code")
    assert " ".join(command.split()) == command
    assert command.startswith("uv run python -m search ")
    seen.page.close()


def test_the_table_of_trials_has_low_rows_and_shades_where_it_goes_on(seen):
    page = seen.page
    tall = "rows => rows.map(row => row.offsetHeight)"
    heights = page.eval_on_selector_all("#table tbody tr", tall)
    assert any(page.locator("#table td.reason").all_text_contents())
    assert max(heights) - min(heights) <= 1
    region = page.locator("#trials .scroll")
    assert region.evaluate("region => region.scrollWidth > region.clientWidth")
    style = region.evaluate(
        "region => [getComputedStyle(region).backgroundImage, getComputedStyle(region).backgroundAttachment]"
    )
    assert style[0].count("linear-gradient") == 4
    assert style[1] == "local, local, scroll, scroll"


def test_on_paper_all_plots_and_trials_are_there(browser, file, tmp_path):
    seen = watched(browser, file.as_uri(), color_scheme="dark")
    seen.page.goto(file.as_uri())
    paper = seen.page.pdf(format="A4")
    assert paper.startswith(b"%PDF")
    undrawn = seen.page.eval_on_selector_all(".plot", "all => all.filter(p => !p.querySelector('.main-svg')).length")
    assert undrawn == 0
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert seen.page.eval_on_selector("#curves .xtitle", "text => getComputedStyle(text).fill") == "rgb(28, 36, 48)"
    seen.page.emulate_media(media="print")
    assert seen.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert seen.page.locator(".filters:visible, button.all:visible").count() == 0
    seen.page.close()


@pytest.mark.parametrize("trials", [1, pytest.param(1000, marks=pytest.mark.slow)])
def test_it_opens_with_one_trial_and_with_a_thousand(browser, tmp_path, trials):
    words = ("space.optimizer.lr={low: 1e-4, high: 1e-1, log: true}", "search.sampler=random", "trial.epochs=30")
    if trials == 1:
        run = run_in(tmp_path / "one", steps=3, at_once=1)
    else:
        run = run_in(tmp_path / "many", *words, f"search.trials={trials}")
    file = write_report(run.path)
    assert file.stat().st_size < 15e6
    seen = watched(browser, file.as_uri())
    seen.page.goto(file.as_uri())  # within 30 s, as all that is waited for
    assert seen.page.locator("#table tbody tr").count() == trials
    drawn(seen.page, "curves")
    assert seen.troubles == []
    seen.page.close()
