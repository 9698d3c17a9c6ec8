"""How strongly each text of a page stands out, from the colours that the browser really used."""

from typing import NamedTuple

from playwright.sync_api import Page

MEASURE = """() => {
  const read = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const opacity = (node) => node ? getComputedStyle(node).opacity * opacity(node.parentElement) : 1;
  const isShape = (node) => node instanceof SVGGeometryElement;
  const painted = (node) => {
    const style = getComputedStyle(node);
    if (!isShape(node)) return node instanceof SVGElement ? [0, 0, 0, 0] : read(style.backgroundColor);
    if (!style.fill.startsWith("rgb")) return [0, 0, 0, 0];
    const [r, g, b, a] = read(style.fill);
    return [r, g, b, a * style.fillOpacity * opacity(node)];
  };
  const behind = (x, y) =>
    document.elementsFromPoint(x, y).map(painted).reduceRight((below, top) => over(top, below), [255, 255, 255, 1]);
  const luminance = (colour) => {
    const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map((one) => linear(one / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest("script, style, title, desc")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = [...range.getClientRects()].find((rect) => rect.width > 0 && rect.height > 0);
    if (!box) continue;
    const x = box.x + box.width / 2, y = box.y + box.height / 2;
    if (x < 0 || y < 0 || x >= innerWidth || y >= innerHeight) continue;
    const top = document.elementFromPoint(x, y);
    const isDrawn = parent instanceof SVGElement, style = getComputedStyle(parent);
    if (!(isDrawn ? parent.closest("svg").contains(top) : parent.contains(top) || top.contains(parent))) continue;
    const [r, g, b, a] = read(isDrawn ? style.fill : style.color), ground = behind(x, y);
    const ink = over([r, g, b, a * opacity(parent)], ground);
    const [dark, bright] = [luminance(ink), luminance(ground)].sort((one, other) => one - other);
    found.push([node.data.trim().slice(0, 60), (bright + 0.05) / (dark + 0.05), isDrawn, `${ink} on ${ground}`]);
  }
  return found;
}"""
"""Colours are laid over each other from the back to the front at the middle of each text. What lies outside of the
window, or under something that has scrolled over it, is left out."""


class Text(NamedTuple):
    """A text; its contrast after WCAG 2.2 (1 to 21); whether it belongs to a chart; its colours."""

    text: str
    contrast: float
    is_drawn: bool
    colours: str


def list_texts(page: Page) -> list[Text]:
    """Every visible text of a page with its contrast, from the top. Makes the window as high as the page."""
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    page.set_viewport_size({"width": width, "height": height})
    return [Text(*found) for found in page.evaluate(MEASURE)]
