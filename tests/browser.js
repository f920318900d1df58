"use strict";
// Looks at the page that it is in, and tells the page around it what it has found, as JSON (see browser.py).
const overlaps = [];
const cutOff = [];

const labels = [...document.querySelectorAll("figure svg text")];
const boxes = labels.map((label) => label.getBoundingClientRect());
labels.forEach((label, number) => {
  const frame = label.ownerSVGElement.getBoundingClientRect();
  const box = boxes[number];
  if (box.left < frame.left - 0.5 || box.right > frame.right + 0.5) cutOff.push(label.textContent);
  labels.slice(number + 1).forEach((other, further) => {
    const its = boxes[number + 1 + further];
    const width = Math.min(box.right, its.right) - Math.max(box.left, its.left);
    const height = Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top);
    const isSamePicture = label.ownerSVGElement === other.ownerSVGElement; // the names stay while the other scrolls
    if (isSamePicture && width > 0.5 && height > 2) overlaps.push(`${label.textContent} / ${other.textContent}`);
  });
});

for (const block of document.querySelectorAll("h1, h2, header p, section p, li, dt, dd, td, th, footer p")) {
  if (block.scrollWidth > block.clientWidth + 1) cutOff.push(block.textContent);
}
if (document.documentElement.scrollWidth > innerWidth) cutOff.push("the page is wider than its window");

const line = document.querySelector(".line[data-batch]");
line.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX: 60, clientY: 60 }));
const tip = document.getElementById("tip");
const facts = [...document.querySelectorAll("[data-fact]")].map((each) => [each.dataset.fact, each.innerText]);

const seen = JSON.stringify({
  width_px: innerWidth,
  errors: caught,
  overlaps,
  cut_off: cutOff,
  facts: Object.fromEntries(facts),
  tip: tip.hidden ? "" : tip.innerText,
  lit_up: document.querySelectorAll("[data-batch].chosen").length,
});
parent.postMessage(seen, "*");
