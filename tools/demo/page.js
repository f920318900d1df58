"use strict";
// Shows a shape's title beside the pointer, at once, and lights up what belongs to the same batch.
const tip = document.getElementById("tip");
const picture = document.querySelector("figure svg:not(.names)");

for (const title of picture.querySelectorAll("title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.parentNode.setAttribute("aria-label", title.textContent);
  title.remove(); // or the browser shows it a second time
}

function batches(shape) {
  return shape && shape.dataset.batch ? shape.dataset.batch.split(" ") : [];
}

function choose(shape) {
  const wanted = batches(shape);
  picture.classList.toggle("chosen", wanted.length > 0);
  for (const each of picture.querySelectorAll("[data-batch]")) {
    each.classList.toggle("chosen", batches(each).some((batch) => wanted.includes(batch)));
  }
}

function show(shape, x, y) {
  choose(shape);
  tip.hidden = !shape || !shape.dataset.tip;
  if (tip.hidden) return;
  tip.textContent = shape.dataset.tip;
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = (y + 18 + tip.offsetHeight > innerHeight ? y - tip.offsetHeight - 12 : y + 18) + "px";
}

picture.addEventListener("pointermove", (event) => show(event.target.closest("[data-tip]"), event.clientX, event.clientY));
picture.addEventListener("pointerleave", () => show(null, 0, 0));
picture.addEventListener("focusin", (event) => {
  const box = event.target.getBoundingClientRect();
  show(event.target.closest("[data-tip]"), box.right, box.bottom);
});
picture.addEventListener("focusout", () => show(null, 0, 0));
