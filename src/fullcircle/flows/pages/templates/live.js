// Each chart stands in the page as a drawing, with its specification behind it. Where this script runs, the drawing
// gives way to the chart with tooltips; where a chart fails, the drawing stays. Nothing may be loaded by any chart.
const never = () => Promise.reject(new Error("this page loads nothing"));
const loader = { load: never, sanitize: never, http: never, file: never };
const options = { mode: "vega-lite", ast: true, actions: false, renderer: "svg", defaultStyle: false, loader };

// In a narrow place the title under a chart may take all of its width, and no more.
function fitted(spec, width) {
  if (width < 400) spec.config.axisX = { titleAnchor: "end", titleLimit: width - 24, ...spec.config.axisX };
  return spec;
}

async function enliven(held) {
  const still = held.previousElementSibling;
  const place = still.cloneNode(false);
  place.className = "live arriving";
  still.after(place);
  try {
    await vegaEmbed(place, fitted(JSON.parse(held.textContent), place.clientWidth), options);
    still.remove();
    place.classList.remove("arriving");
  } catch (error) {
    console.error("a chart stays as it was drawn:", error);
    place.remove();
  }
}

// Vega-Lite warns of every chart whose bars have a height and whose width is the page's: a reader can do nothing.
const warn = console.warn;
console.warn = () => {};
(async () => {
  for (const held of document.querySelectorAll("script.chart")) await enliven(held);
  console.warn = warn;
  document.documentElement.dataset.charts = "live";
})();
