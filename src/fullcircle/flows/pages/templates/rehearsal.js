
// Marks under the pictures: why, with the sums, under the pointer or the focus. Without this script the browser shows
// the same text by itself, and the link leads to the story in either case.
for (const mark of document.querySelectorAll(".mk")) {
  mark.dataset.tip = mark.title;
  mark.removeAttribute("title");
  const show = () => {
    const box = mark.getBoundingClientRect();
    tip.textContent = mark.dataset.tip;
    place(box.left, box.top);
  };
  mark.addEventListener("pointerenter", show);
  mark.addEventListener("focus", show);
  mark.addEventListener("pointerleave", quiet);
  mark.addEventListener("blur", quiet);
  mark.addEventListener("keydown", (event) => { if (event.key === "Escape") quiet(); });
}

// A link into the story opens the step that it leads to.
function open() {
  const found = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!found) return;
  for (let at = found; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  if (found.closest(".story")) for (const each of found.querySelectorAll(":scope > div > details")) each.open = true;
  found.scrollIntoView();
}
addEventListener("hashchange", open);
open();
