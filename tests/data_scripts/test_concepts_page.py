"""The page of a graph: its data, its pictures, and what a real browser makes of it."""

import html
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from data_scripts.concepts.graph import Caption, Concept, ConceptGraph, Prototype
from data_scripts.concepts.page import page_data, thumbnails_of, write_page, write_thumbnails

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (apt-get install chromium)")
NASTY = "</script><img src=x onerror=alert(1)> & \u2028 shirt"


def example() -> ConceptGraph:
    concepts = [
        Concept(0, "red shirt", "shirt", 12, "data"),
        Concept(1, "slim red shirt", "red shirt", 5, "data"),
        Concept(2, "shirt", "topwear", 40, "kb"),
        Concept(3, "red shirt", "shirt", 30, "kb"),
        Concept(4, "hat", "", 3, "kb"),
        Concept(5, NASTY, "", 2, "kb"),
    ]
    captions = [Caption(0, "Slim red shirt", ("a",), ("slim red shirt", "red shirt", "shirt"), ("shirt",))]
    captions += [Caption(number, f"Red shirt {number}", ("b",), ("red shirt",)) for number in range(1, 5)]
    pictures = {"red shirt": [Prototype("a", 0.75), Prototype("b", 0.5)], "hat": [Prototype("lost", 0.1)]}
    return ConceptGraph(concepts, captions, pictures)


def large(count=20_000) -> ConceptGraph:
    heads = count // 100
    concepts = [Concept(number, f"head{number}", "", 100, "kb") for number in range(heads)]
    for number in range(heads, count):
        father = f"head{number % heads}"
        concepts.append(Concept(number, f"m{number} {father}", father, number % 90 + 1, "data"))
    return ConceptGraph(concepts, [], {})


@pytest.fixture
def page(tmp_path):
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (40, 60), colour).save(tmp_path / f"{name}.png")
    thumbnails, _ = write_thumbnails(
        ["a", "b"], lambda one: Image.open(tmp_path / f"{one}.png"), tmp_path / "graph", 32
    )
    return write_page(example(), tmp_path / "graph", thumbnails, "Concepts of <my> shop")


def data_in(page):
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    return json.loads(found.group(1))


# Without a browser


def test_a_phrase_of_both_vocabularies_is_one_entry_and_categories_are_entries_too() -> None:
    data = page_data(example(), {}, "title")
    assert data["names"] == ["red shirt", "slim red shirt", "shirt", "hat", NASTY, "topwear"]
    assert data["fathers"] == [2, 0, 5, -1, -1, -1]
    assert data["frequencies"] == [30, 5, 40, 3, 2, 0]
    assert data["sources"] == [3, 1, 2, 2, 2, 0]


def test_pictures_are_named_once_and_those_that_are_lost_are_left_out() -> None:
    data = page_data(example(), {"a": "thumbnails/0/0.jpg", "b": "thumbnails/0/1.jpg"}, "title")
    assert data["files"] == ["thumbnails/0/0.jpg", "thumbnails/0/1.jpg"] and data["imageIds"] == ["a", "b"]
    assert data["pictures"] == [[0, 1], [], [], [], [], []] and data["scores"][0] == [0.75, 0.5]
    assert page_data(example(), {"a": "x"}, "title", most_pictures=1)["pictures"][0] == [0]


def test_a_concept_shows_a_few_of_its_captions() -> None:
    data = page_data(example(), {}, "title", examples=2)
    assert [data["captions"][number] for number in data["examples"][0]] == ["Slim red shirt", "Red shirt 1"]


def test_no_text_can_leave_the_data(page) -> None:
    assert data_in(page)["names"][4] == NASTY
    source = page.read_text("utf-8")
    assert NASTY not in source and source.count("</script>") == 2 and "\u2028" not in source
    assert "<title>Concepts of &lt;my> shop</title>" in source


def test_the_page_loads_nothing_from_elsewhere(page) -> None:
    source = page.read_text("utf-8")
    assert not re.search(r"https?://|src=|@import|url\(|<link", source.replace(r"\u003cimg src=x", ""))


def test_small_pictures_are_upright_rgb_and_in_folders_of_a_thousand(tmp_path) -> None:
    pictures = {
        "rgba": Image.new("RGBA", (300, 100), (0, 0, 0, 0)),
        "grey": Image.new("L", (10, 10), 7),
        "palette": Image.new("P", (50, 90)),
    }
    turned = Image.new("RGB", (100, 40), "red")
    turned.getexif()[274] = 6
    turned.save(tmp_path / "turned.jpg", exif=turned.getexif())
    pictures["turned"] = Image.open(tmp_path / "turned.jpg")
    written, problems = write_thumbnails(pictures, pictures.__getitem__, tmp_path, 64)
    assert not problems and written["rgba"] == "thumbnails/0/0.jpg"
    opened = {name: Image.open(tmp_path / path) for name, path in written.items()}
    assert all(picture.mode == "RGB" and max(picture.size) <= 64 for picture in opened.values())
    assert opened["rgba"].getpixel((5, 5)) == (255, 255, 255)
    assert opened["turned"].height > opened["turned"].width


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_written(tmp_path) -> None:
    def open_picture(image_id):
        if image_id == "bad":
            raise ValueError("bad.jpg is damaged")
        return Image.new("RGB", (5, 5))

    written, problems = write_thumbnails(["bad", "good", "good"], open_picture, tmp_path)
    assert list(written) == ["good"] and problems == ["bad: bad.jpg is damaged"]


def test_the_pictures_of_a_written_page_are_found_again(page, tmp_path) -> None:
    assert thumbnails_of(page.parent) == {"a": "thumbnails/0/0.jpg", "b": "thumbnails/0/1.jpg"}
    assert thumbnails_of(tmp_path / "nothing") == {}


# In a browser


def visit(page, fragment="", script="", profile=None):
    """The document after the page's script, and `script` behind it, have run in a real browser, without network."""
    if script:
        copy = page.with_name("visited.html")
        copy.write_text(page.read_text("utf-8").replace("</body>", f"<script>{script}</script></body>"), "utf-8")
        page = copy
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}", "--virtual-time-budget=8000"]
    command += ["--dump-dom", page.resolve().as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def names_in_tree(dom):
    tree = dom[dom.index('id="tree"') : dom.index("<main")]
    return [html.unescape(name) for name in re.findall(r'class="name">(.*?)</button>', tree)]


@browser
def test_the_browser_shows_roots_and_the_overview(page, tmp_path) -> None:
    dom = visit(page, profile=tmp_path / "profile")
    assert 'data-ready="yes"' in dom
    assert names_in_tree(dom) == ["topwear", "hat", NASTY]
    assert "Overview" in dom and "5 concepts" in dom and '<img src="x"' not in dom


@browser
def test_an_address_opens_a_concept_with_its_branch_and_pictures(page, tmp_path) -> None:
    dom = visit(page, "#slim%20red%20shirt", profile=tmp_path / "profile")
    assert names_in_tree(dom) == ["topwear", "shirt", "red shirt", "slim red shirt", "hat", NASTY]
    assert "<h2>slim red shirt</h2>" in dom and "in 5 texts" in dom
    dom = visit(page, "#red%20shirt", profile=tmp_path / "profile")
    assert dom.count('src="thumbnails/0/') == 2 and "0.750" in dom and "knowledge base" in dom


@browser
def test_searching_and_unfolding_work_and_the_pictures_load(page, tmp_path) -> None:
    script = """
        const query = document.getElementById("query");
        query.value = "RED sh"; query.oninput();
        const found = [...document.querySelectorAll("#tree .name")].map(one => one.textContent);
        query.onkeydown({key: "Enter"});
        query.value = ""; query.oninput();
        document.querySelector("#tree .fold").click();
        const unfolded = [...document.querySelectorAll("#tree .name")].map(one => one.textContent);
        setTimeout(() => {
            const sizes = [...document.querySelectorAll("main .pictures img")].map(one => one.naturalHeight);
            document.title = JSON.stringify({found, unfolded, sizes, chosen: document.querySelector("h2").textContent});
        }, 1500);
    """
    title = re.search(r"<title>(.*?)</title>", visit(page, script=script, profile=tmp_path / "profile")).group(1)
    result = json.loads(html.unescape(title))
    assert result["found"] == ["red shirt", "slim red shirt"] and result["chosen"] == "red shirt"
    assert result["unfolded"][:2] == ["topwear", "shirt"] and result["sizes"] == [32, 32]


@browser
def test_twenty_thousand_concepts_are_drawn_a_hundred_at_a_time(tmp_path) -> None:
    page = write_page(large(), tmp_path / "graph")
    script = """
        const start = performance.now();
        const query = document.getElementById("query");
        query.value = "head1"; query.oninput();
        const first = document.querySelectorAll("#tree .entry").length;
        document.querySelector("#tree .more").click();
        const second = document.querySelectorAll("#tree .entry").length;
        document.title = JSON.stringify({first, second, rows: size, time: performance.now() - start});
    """
    title = re.search(r"<title>(.*?)</title>", visit(page, script=script, profile=tmp_path / "profile")).group(1)
    result = json.loads(html.unescape(title))
    assert (result["rows"], result["first"], result["second"]) == (20_000, 100, 200)
    assert page.stat().st_size < 4e6
