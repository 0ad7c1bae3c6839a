// What a reader sees of the page: every piece of text with its boxes, its size, and its contrast against what is behind.
function luminance([r, g, b]) {
  const linear = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

function colour(text) {
  const [r, g, b, alpha = 1] = text.match(/[\d.]+/g).map(Number);
  return { rgb: [r, g, b], alpha };
}

function behind(element) {
  for (let at = element; at; at = at.parentElement) {
    const back = colour(getComputedStyle(at).backgroundColor);
    if (back.alpha === 1) return back.rgb;
    if (back.alpha !== 0) throw new Error("half transparent background: " + at.className);
  }
  return [255, 255, 255];
}

function texts() {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style")) continue;
    const style = getComputedStyle(parent), range = document.createRange();
    range.selectNodeContents(node);
    const boxes = Array.from(range.getClientRects(), box => [box.left, box.top, box.right, box.bottom])
      .filter(([left, top, right, bottom]) => right > left && bottom > top);
    const levels = [luminance(colour(style.color).rgb), luminance(behind(parent))].sort((a, b) => b - a);
    let scroller = null, cut = false, seen = boxes;
    for (let at = parent; at && at !== document.documentElement; at = at.parentElement) {
      const overflow = getComputedStyle(at).overflowX, own = at.getBoundingClientRect();
      if (overflow === "auto" || overflow === "scroll") scroller ??= [own.left, own.right];
      // What is scrolled out of a box that scrolls down lies upon nothing.
      if (["auto", "scroll"].includes(getComputedStyle(at).overflowY)) {
        seen = seen.map(([left, top, right, bottom]) => [left, Math.max(top, own.top), right, Math.min(bottom, own.bottom)]);
      }
      if (overflow === "hidden" || overflow === "clip") cut ||= boxes.some(box => box[2] > own.right + 1);
    }
    found.push({
      text: node.data.trim(), boxes, seen, scroller, cut, size: parseFloat(style.fontSize),
      visible: boxes.length > 0 && style.visibility === "visible" && style.opacity === "1",
      contrast: (levels[0] + 0.05) / (levels[1] + 0.05),
    });
  }
  return found;
}

function overlapping() {
  const pieces = texts().flatMap(one => one.seen.map(box => ({ text: one.text, box })));
  const pairs = [];
  pieces.forEach((one, index) => {
    for (const other of pieces.slice(index + 1)) {
      const width = Math.min(one.box[2], other.box[2]) - Math.max(one.box[0], other.box[0]);
      const height = Math.min(one.box[3], other.box[3]) - Math.max(one.box[1], other.box[1]);
      if (width > 2 && height > 2) pairs.push([one.text, other.text]);
    }
  });
  return pairs;
}

function tree(element, depth = 0) {
  return [[depth, element.localName], ...Array.from(element.children).flatMap(child => tree(child, depth + 1))];
}
