"""The graph as one page for the browser: a tree with frequencies, a search box, the pictures of every concept.

    index.html            everything but the pictures; opens from the file system, loads nothing from elsewhere
    thumbnails/0/12.jpg   small pictures, only those that a concept shows

The data lie in the page as JSON with columns instead of objects; lists are drawn a hundred at a time, so that tens of
thousands of concepts stay quick.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from data_scripts.concepts.graph import ConceptGraph, coverage

PER_FOLDER = 1000


def write_page(
    graph: ConceptGraph,
    folder: str | os.PathLike,
    thumbnails: Mapping[str, str] | None = None,
    title: str = "Concept graph",
    examples: int = 2,
    most_pictures: int = 10,
) -> Path:
    """Write index.html.

    Args:
        graph: what to show. folder: where the page goes. title: its heading.
        thumbnails: image id -> path of the small picture, relative to the folder; pictures without one are left out.
        examples: captions shown per concept. most_pictures: pictures shown per concept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = page_data(graph, thumbnails or {}, title, examples, most_pictures)
    # "<" is escaped so that no text can end the script element; the rest of JSON is safe in it.
    content = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    content = content.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    escaped = title.replace("&", "&amp;").replace("<", "&lt;")
    page = PAGE.replace("{{title}}", escaped).replace("{{data}}", content)
    beside = folder / "index.html.tmp"
    beside.write_text(page, encoding="utf-8")
    os.replace(beside, folder / "index.html")
    return folder / "index.html"


def page_data(
    graph: ConceptGraph, thumbnails: Mapping[str, str], title: str, examples: int = 2, most_pictures: int = 10
) -> dict[str, Any]:
    """What the page holds: one entry per distinct phrase, and per father that is no phrase (a category)."""
    fathers, frequencies = graph.fathers(), graph.frequencies()
    names = list(dict.fromkeys([*fathers, *(father for father in fathers.values() if father)]))
    row = {name: number for number, name in enumerate(names)}
    sources: dict[str, int] = dict.fromkeys(names, 0)
    for concept in graph.concepts:
        sources[concept.phrase] |= 1 if concept.source == "data" else 2
    files = {image_id: number for number, image_id in enumerate(thumbnails)}
    shown = {
        name: [one for one in graph.prototypes.get(name, ())[:most_pictures] if one.image_id in thumbnails]
        for name in names
    }
    captions: dict[str, int] = {}
    quoted: dict[str, list[int]] = {name: [] for name in names}
    for caption in graph.captions:
        for phrase in caption.phrases:
            if phrase in quoted and len(quoted[phrase]) < examples:
                number = captions.setdefault(caption.text, len(captions))
                if number not in quoted[phrase]:
                    quoted[phrase].append(number)
    return {
        "title": title,
        "names": names,
        "fathers": [row.get(fathers.get(name, ""), -1) for name in names],
        "frequencies": [frequencies.get(name, 0) for name in names],
        "sources": [sources[name] for name in names],
        "files": [thumbnails[image_id] for image_id in files],
        "imageIds": list(files),
        "pictures": [[files[one.image_id] for one in shown[name]] for name in names],
        "scores": [[round(one.score, 3) for one in shown[name]] for name in names],
        "captions": list(captions),
        "examples": [quoted[name] for name in names],
        "coverage": coverage(graph),
    }


def thumbnails_of(folder: str | os.PathLike) -> dict[str, str]:
    """Image id -> path of its small picture, as a written page shows them; empty where there is no page."""
    page = Path(folder) / "index.html"
    if not page.is_file():
        return {}
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    if found is None:
        raise ValueError(f"{page} holds no concept graph; build it again")
    data = json.loads(found.group(1))
    return dict(zip(data["imageIds"], data["files"], strict=True))


def write_thumbnails(
    image_ids: Iterable[str],
    open_picture: Callable[[str], Image.Image],
    folder: str | os.PathLike,
    size: int = 128,
) -> tuple[dict[str, str], list[str]]:
    """Write small pictures under folder/thumbnails.

    Args:
        image_ids: which. open_picture: id -> picture. size: long side in pixels.

    Returns:
        Image id -> path relative to the folder; and a line per picture that could not be read.
    """
    folder = Path(folder)
    written: dict[str, str] = {}
    problems: list[str] = []
    for number, image_id in enumerate(dict.fromkeys(image_ids)):
        name = f"thumbnails/{number // PER_FOLDER}/{number % PER_FOLDER}.jpg"  # ids need not make file names
        try:
            picture = open_picture(image_id)
            small = ImageOps.exif_transpose(picture)
            if small.mode in ("RGBA", "LA", "PA") or "transparency" in small.info:
                small = small.convert("RGBA")
                white = Image.new("RGBA", small.size, "white")
                small = Image.alpha_composite(white, small)
            small = small.convert("RGB")
            small.thumbnail((size, size), Image.Resampling.LANCZOS)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            small.save(target, "JPEG", quality=82)
        except (OSError, ValueError, SyntaxError, KeyError) as error:
            problems.append(f"{image_id}: {error}")
            continue
        written[image_id] = name
    return written, problems


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
:root { --ground: #f6f5f2; --panel: #ffffff; --ink: #1f2328; --soft: #6b7078; --line: #e2e0da; --accent: #8a3b52;
  --tint: #f4e9ec; --bar: #d9b8c1; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ground: #17181b; --panel: #202226; --ink: #e8e6e3; --soft: #9da2aa;
  --line: #33363c; --accent: #e39ab0; --tint: #35272c; --bar: #6d4350; } }
* { box-sizing: border-box; }
html, body { height: 100%; margin: 0; }
body { display: flex; flex-direction: column; background: var(--ground); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: baseline; padding: 12px 20px;
  background: var(--panel); border-bottom: 1px solid var(--line); }
h1 { font-size: 18px; margin: 0; cursor: pointer; }
header span { color: var(--soft); font-size: 13px; }
.columns { flex: 1; min-height: 0; display: flex; }
nav { width: 340px; flex: none; display: flex; flex-direction: column; background: var(--panel);
  border-right: 1px solid var(--line); }
.search { padding: 12px; border-bottom: 1px solid var(--line); }
.search input { width: 100%; padding: 8px 12px; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: 8px; }
.search input:focus { outline: 2px solid var(--accent); outline-offset: -1px; }
.note { color: var(--soft); font-size: 12px; padding: 6px 2px 0; }
#tree { flex: 1; overflow-y: auto; padding: 8px 6px 40px; }
ul { list-style: none; margin: 0; padding: 0; }
ul ul { padding-left: 18px; }
.entry { display: flex; align-items: center; border-radius: 6px; }
.entry:hover { background: var(--ground); }
.entry.chosen { background: var(--tint); }
.entry.chosen .name { color: var(--accent); font-weight: 600; }
.fold { flex: none; width: 24px; height: 26px; padding: 0; border: 0; background: none; color: var(--soft);
  cursor: pointer; font-size: 11px; }
.name { flex: 1; min-width: 0; padding: 3px 4px; border: 0; background: none; color: inherit; font: inherit;
  text-align: left; cursor: pointer; overflow-wrap: anywhere; }
.count { flex: none; color: var(--soft); font-size: 12px; padding: 0 8px; font-variant-numeric: tabular-nums; }
.more { margin: 4px 0 4px 24px; padding: 2px 10px; border: 1px solid var(--line); border-radius: 12px; color: var(--soft);
  background: none; font: inherit; font-size: 12px; cursor: pointer; }
main { flex: 1; min-width: 0; overflow-y: auto; padding: 24px 32px 60px; }
h2 { font-size: 26px; margin: 4px 0 6px; overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 28px 0 10px; color: var(--soft); font-weight: 600; letter-spacing: .03em; }
.path, .facts { color: var(--soft); font-size: 14px; }
.path button { border: 0; padding: 0; background: none; font: inherit; color: var(--accent); cursor: pointer; }
.tag { display: inline-block; margin-left: 8px; padding: 1px 9px; border-radius: 10px; background: var(--tint);
  color: var(--accent); font-size: 12px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 14px; max-width: 1100px; }
figure { margin: 0; }
.frame { display: flex; align-items: center; justify-content: center; height: 150px; background: #fff;
  border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
.frame img { max-width: 100%; max-height: 100%; width: 100%; height: 100%; object-fit: contain; }
figcaption { margin-top: 4px; color: var(--soft); font-size: 12px; display: flex; justify-content: space-between; gap: 6px; }
figcaption .id { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 10px; max-width: 1100px; }
.card { display: flex; align-items: center; gap: 10px; padding: 8px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--panel); color: inherit; font: inherit; text-align: left; cursor: pointer; min-width: 0; }
.card:hover { border-color: var(--accent); }
.card .frame { width: 52px; height: 60px; flex: none; border-radius: 5px; }
.card .none { background: var(--ground); }
.card b { font-weight: 500; display: block; overflow-wrap: anywhere; }
.card small { color: var(--soft); }
blockquote { margin: 0 0 6px; padding: 6px 12px; border-left: 3px solid var(--bar); color: var(--soft); max-width: 900px;
  overflow-wrap: anywhere; }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 5px 12px; max-width: 520px;
  align-items: center; font-size: 14px; }
.bars i { height: 12px; border-radius: 3px; background: var(--bar); display: block; min-width: 2px; }
.bars span:nth-child(3n) { color: var(--soft); font-variant-numeric: tabular-nums; text-align: right; }
.two { display: flex; flex-wrap: wrap; gap: 0 60px; }
.two > div { flex: 1 1 300px; max-width: 520px; }
.empty { color: var(--soft); font-style: italic; }
@media (max-width: 760px) { .columns { flex-direction: column; } nav { width: auto; max-height: 45%; border-right: 0;
  border-bottom: 1px solid var(--line); } main { padding: 16px; } }
</style>
</head>
<body>
<header><h1 id="home">{{title}}</h1><span id="totals"></span></header>
<div class="columns">
<nav><div class="search"><input id="query" type="search" placeholder="Search concepts" autocomplete="off"
  aria-label="Search concepts"><div class="note" id="note"></div></div><div id="tree"></div></nav>
<main id="detail" tabindex="-1"></main>
</div>
<script id="data" type="application/json">{{data}}</script>
<script>
"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const STEP = 100, size = D.names.length;
const children = Array.from({length: size}, () => []), roots = [];
const rowOf = new Map(D.names.map((name, row) => [name, row]));
const byFrequency = (a, b) => D.frequencies[b] - D.frequencies[a] || (D.names[a] < D.names[b] ? -1 : 1);
D.fathers.forEach((father, row) => (father < 0 ? roots : children[father]).push(row));
const below = new Int32Array(size);
(function count() {
  const order = [...roots];
  for (let i = 0; i < order.length; i++) order.push(...children[order[i]]);
  for (let i = order.length - 1; i >= 0; i--) {
    const father = D.fathers[order[i]];
    if (father >= 0) below[father] += below[order[i]] + 1;
  }
})();
children.forEach(list => list.sort(byFrequency));
// Roots with something below them first: the tree begins with its branches, single phrases follow.
roots.sort((a, b) => (children[b].length > 0) - (children[a].length > 0) || byFrequency(a, b));
const number = n => n.toLocaleString("en");
const plural = (n, one, many) => `${number(n)} ${n === 1 ? one : many || one + "s"}`;
let chosen = -1;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
function inSteps(parent, rows, draw, from = 0) {
  rows.slice(from, from + STEP).forEach(row => parent.append(draw(row)));
  const left = rows.length - from - STEP;
  if (left > 0) {
    const more = make("button", "more", `${number(Math.min(STEP, left))} more of ${number(left)}`);
    more.onclick = () => { more.remove(); inSteps(parent, rows, draw, from + STEP); };
    parent.append(more);
  }
}
function entry(row, withTree = true) {
  const item = make("li"), line = make("div", "entry" + (row === chosen ? " chosen" : ""));
  line.dataset.row = row;
  const fold = make("button", "fold", withTree && children[row].length ? "\\u25B6" : "");
  fold.setAttribute("aria-label", "Unfold " + D.names[row]);
  if (!fold.textContent) { fold.tabIndex = -1; fold.setAttribute("aria-hidden", "true"); }
  const name = make("button", "name", D.names[row]);
  name.onclick = () => { location.hash = encodeURIComponent(D.names[row]); };
  line.append(fold, name, make("span", "count", D.frequencies[row] ? number(D.frequencies[row]) : ""));
  item.append(line);
  item.toggle = open => {
    const list = item.querySelector(":scope > ul");
    if (list && open !== true) { list.remove(); fold.textContent = "\\u25B6"; }
    else if (!list && children[row].length) {
      const inner = make("ul");
      inSteps(inner, children[row], child => entry(child));
      item.append(inner);
      fold.textContent = "\\u25BC";
    }
  };
  fold.onclick = () => item.toggle();
  return item;
}
function drawTree() {
  const query = document.getElementById("query").value.trim().toLowerCase().split(/\\s+/).join(" ");
  const tree = document.getElementById("tree"), list = make("ul");
  let rows = roots;
  if (query) {
    rows = [];
    for (let row = 0; row < size; row++) if (D.names[row].includes(query)) rows.push(row);
    const rank = row => D.names[row] === query ? 0 : D.names[row].startsWith(query) ? 1 : 2;
    rows.sort((a, b) => rank(a) - rank(b) || byFrequency(a, b));
  }
  inSteps(list, rows, row => entry(row, !query));
  tree.replaceChildren(list);
  tree.scrollTop = 0;
  document.getElementById("note").textContent = query ? plural(rows.length, "concept") + " found"
    : plural(roots.length, "root") + ", frequency on the right";
  return rows;
}
function picture(row, which) {
  const frame = make("div", "frame"), image = make("img");
  const index = D.pictures[row][which];
  image.loading = "lazy";
  image.alt = D.names[row];
  image.src = D.files[index];
  image.title = D.imageIds[index];
  frame.append(image);
  return frame;
}
function card(row) {
  const button = make("button", "card"), text = make("span");
  button.append(D.pictures[row].length ? picture(row, 0) : make("div", "frame none"));
  text.append(make("b", "", D.names[row]));
  const parts = [];
  if (D.frequencies[row]) parts.push(number(D.frequencies[row]));
  if (below[row]) parts.push(number(below[row]) + " below");
  text.append(make("small", "", parts.join(", ")));
  button.append(text);
  button.onclick = () => { location.hash = encodeURIComponent(D.names[row]); };
  return button;
}
function section(parent, title) {
  parent.append(make("h3", "", title));
  const box = make("div");
  parent.append(box);
  return box;
}
function bars(parent, title, counts) {
  const box = section(parent, title), entries = Object.entries(counts);
  const most = Math.max(1, ...entries.map(one => one[1]));
  box.className = "bars";
  for (const [name, count] of entries) {
    const bar = make("i");
    bar.style.width = 100 * count / most + "%";
    box.append(make("span", "", name), bar, make("span", "", number(count)));
  }
}
function overview() {
  const main = document.getElementById("detail"), C = D.coverage;
  main.replaceChildren(make("h2", "", "Overview"));
  main.append(make("div", "facts", `${plural(C.concepts, "concept")}, ${number(C.is_a)} with a father, ` +
    `${number(C.concepts_with_images)} with pictures, ${plural(C.captions, "caption")} with ` +
    `${C.concepts_per_caption} concepts on average`));
  const cards = section(main, "Largest branches");
  cards.className = "cards";
  inSteps(cards, [...roots].sort((a, b) => below[b] - below[a] || byFrequency(a, b)).slice(0, 24), card);
  const two = make("div", "two"), left = make("div"), right = make("div");
  main.append(two);
  two.append(left, right);
  const order = ["0", "1-4", "5 and more"], bands = C.captions_by_concepts;
  bars(left, "Captions by number of concepts", Object.fromEntries(order.map(name => [name, bands[name] || 0])));
  bars(right, "Concepts by number of fathers above", C.depths);
}
function detail(row) {
  const main = document.getElementById("detail");
  main.replaceChildren();
  const path = make("div", "path"), above = [];
  for (let father = D.fathers[row]; father >= 0; father = D.fathers[father]) above.unshift(father);
  above.forEach(father => {
    const button = make("button", "", D.names[father]);
    button.onclick = () => { location.hash = encodeURIComponent(D.names[father]); };
    path.append(button, " \\u203A ");
  });
  path.append(above.length ? D.names[row] : "root");
  main.append(path, make("h2", "", D.names[row]));
  const facts = make("div", "facts", D.frequencies[row] ? `in ${plural(D.frequencies[row], "text")}`
    : "category of the catalogue");
  if (D.sources[row] & 1) facts.append(make("span", "tag", "data"));
  if (D.sources[row] & 2) facts.append(make("span", "tag", "knowledge base"));
  main.append(facts);
  const pictures = section(main, "Prototype pictures");
  if (D.pictures[row].length) {
    pictures.className = "pictures";
    D.pictures[row].forEach((index, which) => {
      const figure = make("figure"), caption = make("figcaption");
      caption.append(make("span", "id", D.imageIds[index]), make("span", "", D.scores[row][which].toFixed(3)));
      figure.append(picture(row, which), caption);
      pictures.append(figure);
    });
  } else pictures.append(make("div", "empty", "none"));
  if (children[row].length) {
    const cards = section(main, plural(children[row].length, "concept") + " right below");
    cards.className = "cards";
    inSteps(cards, children[row], card);
  }
  if (D.examples[row].length) {
    const box = section(main, "In captions");
    D.examples[row].forEach(index => box.append(make("blockquote", "", D.captions[index])));
  }
  main.scrollTop = 0;
}
function unfoldTo(row) {
  const above = [];
  for (let father = D.fathers[row]; father >= 0; father = D.fathers[father]) above.unshift(father);
  for (const father of above) {
    const line = document.querySelector(`#tree .entry[data-row="${father}"]`);
    if (!line) return;
    line.parentElement.toggle(true);
  }
  const line = document.querySelector(`#tree .entry[data-row="${row}"]`);
  if (line) line.scrollIntoView({block: "nearest"});
}
function show() {
  let name = "";
  try { name = decodeURIComponent(location.hash.slice(1)); } catch (error) { /* not one of ours */ }
  chosen = rowOf.has(name) ? rowOf.get(name) : -1;
  if (chosen < 0) overview(); else { detail(chosen); unfoldTo(chosen); }
  document.querySelectorAll("#tree .entry").forEach(line =>
    line.classList.toggle("chosen", Number(line.dataset.row) === chosen));
}
document.getElementById("totals").textContent =
  `${plural(D.coverage.concepts, "concept")}, ${plural(D.imageIds.length, "picture")}`;
document.getElementById("home").onclick = () => { location.hash = ""; };
document.getElementById("query").oninput = drawTree;
document.getElementById("query").onkeydown = event => {
  if (event.key !== "Enter") return;
  const rows = drawTree();
  if (rows.length) location.hash = encodeURIComponent(D.names[rows[0]]);
};
window.onhashchange = show;
drawTree();
show();
document.body.dataset.ready = "yes";
</script>
</body>
</html>
"""
