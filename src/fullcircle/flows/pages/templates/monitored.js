// What the page does beyond standing still: values under the pointer (or the arrow keys) on one line through all
// pictures, and finding columns by name. Without this script every figure is still there, in drawings and tables.
const told = JSON.parse(document.getElementById("figures").textContent);
const root = document.documentElement;
const tip = document.createElement("output");
tip.id = "tip";
tip.setAttribute("aria-live", "polite");
document.body.append(tip);

function figure(value, plot) {
  if (value === null || value === undefined) return "–";
  const scaled = plot.form === "%" ? 100 * value : value;
  const text = scaled.toLocaleString("en", { maximumSignificantDigits: 4 }).replaceAll(",", "\u202f");
  return plot.form === "%" ? `${text} %` : text;
}

function words(plot, at) {
  const lines = plot.series.map((series) => {
    const range = series.l && series.l[at] !== null && series.v[at] !== null
      ? ` (${figure(series.l[at], plot)} to ${figure(series.h[at], plot)})` : "";
    const unit = plot.unit && series.v[at] !== null ? ` ${plot.unit}` : "";
    return `${series.name}: ${figure(series.v[at], plot)}${range}${unit}`;
  });
  return [told.names[at], ...lines].join("\n");
}

function nearest(share) {
  let best = 0;
  told.middles.forEach((middle, at) => {
    if (Math.abs(middle - share) < Math.abs(told.middles[best] - share)) best = at;
  });
  return best;
}

function place(x, y) {
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${y - box.height - 12 > 8 ? y - box.height - 12 : y + 16}px`;
}

function read(axes, at) {
  const field = axes.querySelector(".field").getBoundingClientRect();
  root.style.setProperty("--at", told.middles[at]);
  root.classList.add("reading");
  tip.textContent = words(told.plots[axes.dataset.plot], at);
  axes.dataset.at = at;
  place(field.left + told.middles[at] * field.width, field.top + 30);
}

function quiet() {
  root.classList.remove("reading");
  tip.textContent = "";
}

for (const axes of document.querySelectorAll("[data-plot]")) {
  axes.addEventListener("pointermove", (event) => {
    const field = axes.querySelector(".field").getBoundingClientRect();
    read(axes, nearest((event.clientX - field.left) / field.width));
  });
  axes.addEventListener("pointerleave", quiet);
  axes.addEventListener("blur", quiet);
  axes.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Escape") quiet();
    if (step === undefined) return;
    event.preventDefault();
    const last = told.names.length - 1;
    const from = axes.dataset.at === undefined ? last + (step > 0 ? 0 : 1) : Number(axes.dataset.at);
    read(axes, Math.max(0, Math.min(last, from + step)));
  });
}

for (const bins of document.querySelectorAll("[data-bins]")) {
  bins.addEventListener("pointermove", (event) => {
    tip.textContent = event.target.dataset.tip || "";
    place(event.clientX, event.clientY);
  });
  bins.addEventListener("pointerleave", quiet);
}

// Finding columns: cards and lines of the table alike.
const find = document.getElementById("find");
if (find) {
  const only = document.getElementById("only");
  const found = document.getElementById("found");
  const all = [...document.querySelectorAll("[data-name]")];
  const filter = () => {
    const wanted = find.value.trim().toLowerCase();
    let shown = 0;
    for (const each of all) {
      const fits = each.dataset.name.toLowerCase().includes(wanted) && (!only.checked || "suspect" in each.dataset);
      each.hidden = !fits;
      shown += fits;
    }
    found.textContent = shown === 1 ? "1 column" : `${shown} columns`;
    document.getElementById("none").hidden = shown > 0;
  };
  find.addEventListener("input", filter);
  only.addEventListener("change", filter);
  filter();
}
root.dataset.page = "live";
